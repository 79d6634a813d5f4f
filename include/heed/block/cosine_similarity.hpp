// SPDX-License-Identifier: Apache-2.0
// cosine_similarity: the cosines between the rows of one matrix and those of another.
#pragma once

#include <cmath>

#include "heed/block/matmul.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/gram.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Columns that one unit of work sums; at the most kCosineRuns such sums are joined, in order.
inline constexpr Index kCosineRun = 1024, kCosineRuns = 16;

inline std::array<Index, 4> cosine_sizes(const std::array<Index, 4>& q, const std::array<Index, 4>& k, double eps) {
  constexpr std::string_view where = "cosine_similarity";
  require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3], where, "k must have shape (B, H, e, N) = (", q[0], ", ", q[1],
          ", e, ", q[3], "), got ", shape_text(k));
  require(std::isfinite(eps) && eps > 0, where, "eps must be positive and finite, got ", eps);
  return {q[0], q[1], q[2], k[2]};
}

// 1 / max(|row|, eps) of each row of x (B, H, d, N), as (B, H, d, 1).
template <class D, Real T>
View<T, 4> inverse_norms(ScratchFrame& frame, const D& device, const View<const T, 4>& x, double eps) {
  const std::array<Index, 4> sizes{x.size(0), x.size(1), x.size(2), 1};
  const View<T, 4> norms(frame.take<T>(sizes[0] * sizes[1] * sizes[2]), sizes);
  std::fill_n(norms.data, norms.count(), T(0));
  if (x.count() > 0)
    kernel::elementwise<kernel::Write::kAdd, T>(
        device, [](auto v) { return v * v; }, norms.broadcast(x.sizes, "cosine_similarity", "norms"), x);
  for (Index i = 0; i < norms.count(); ++i) norms.data[i] = T(1) / std::max(std::sqrt(norms.data[i]), T(eps));
  return norms;
}

// d_x += scaled rows - x times the part of d_out along it, for the rows whose norm is not eps.
template <class D, Real T>
void cosine_backward_of(const D& device, const View<const T, 4>& x, const View<const T, 4>& other,
                        const View<const T, 4>& inverse, const View<const T, 4>& cosines, const View<const T, 4>& d_out,
                        const View<const T, 4>& scaled, double eps, const View<T, 4>& d_x) {
  if (!d_x.data) return;
  multiply_matrices<kernel::Write::kAdd>(device, scaled, other, d_x);
  ScratchFrame frame;
  const View<T, 4> along(frame.take<T>(inverse.count()), inverse.sizes);
  std::fill_n(along.data, along.count(), T(0));
  kernel::elementwise<kernel::Write::kAdd, T>(
      device, [](auto d, auto c) { return d * c; }, along.broadcast(d_out.sizes, "cosine_similarity", "along"), d_out,
      cosines);
  for (Index i = 0; i < along.count(); ++i) {
    const T by = inverse.data[i];
    along.data[i] = by < T(1) / T(eps) ? -along.data[i] * by * by : T(0);
  }
  kernel::elementwise<kernel::Write::kAdd, T>(
      device, [](auto v, auto a) { return v * a; }, d_x, x,
      View<const T, 4>(along).broadcast(x.sizes, "cosine_similarity", "along"));
}

}  // namespace detail

/// out(b, h, i, j) = q_i . k_j / (max(|q_i|, eps) max(|k_j|, eps)) over the N columns: q (B, H, d, N), k (B, H, e, N),
/// out (B, H, d, e), contiguous. A row of zeros gives 0.
///
/// Made for few rows and many columns, channels over tokens: q and k are read once (for up to 64 rows), norms and
/// products in one pass. Any strides and storage, so that tokens (B, N, H d) are read where they are. Throws
/// heed::Error for shapes that do not fit and an eps that is not positive. Time O(B H d e N). Runs of columns, cut by N
/// alone, are summed in order: the same bits for any number of threads.
///
/// Gradient: of q and k, cosine_similarity_backward.
template <Device D, TensorLike Q, TensorLike K, TensorLike O>
void cosine_similarity(const D& device, const Q& q_like, const K& k_like, double eps, O&& out_like) {
  using T = Compute<ScalarOf<Q>>;
  static_assert(
      kRankOf<Q> == 4 && kRankOf<K> == 4 && std::same_as<T, Compute<ScalarOf<K>>> && std::same_as<T, ScalarOf<O>>,
      "heed::cosine_similarity: q and k are (B, H, d, N) and (B, H, e, N), and out of what they compute in");
  const auto q = const_view(q_like);
  const auto k = const_view(k_like);
  const View<T, 4> out = view(out_like);
  require_shape("cosine_similarity", "out", out.sizes, detail::cosine_sizes(q.sizes, k.sizes, eps));
  if (out.count() == 0) return;
  constexpr Index width = kernel::kPanelWidth<T>;
  const Index columns = q.size(3), row_tiles = (q.size(2) + width - 1) / width, rows_of_k = k.size(2);
  const Index tiles_across = (rows_of_k + width - 1) / width, tiles = q.size(0) * q.size(1) * row_tiles * tiles_across;
  const Index shortest = (columns + detail::kCosineRuns - 1) / detail::kCosineRuns;
  const Index run =
      std::max(detail::kCosineRun, (shortest + kernel::kGramDepth - 1) / kernel::kGramDepth * kernel::kGramDepth);
  const Index runs = std::max<Index>(1, (columns + run - 1) / run);

  struct Place {
    Index b, h, row, rows, column, columns;
  };
  const auto place = [&](Index tile) {
    const Index column = tile % tiles_across * width, row = tile / tiles_across % row_tiles * width;
    const Index head = tile / tiles_across / row_tiles;
    return Place{head / q.size(1),
                 head % q.size(1),
                 row,
                 std::min(width, q.size(2) - row),
                 column,
                 std::min(width, rows_of_k - column)};
  };
  const auto sum_run = [&](Index tile, Index r, T* sums) {
    const Place p = place(tile);
    const Index first = r * run, length = std::min(run, columns - first);
    kernel::gram<T>(q.select(0, p.b).select(0, p.h).slice(0, p.row, p.rows).slice(1, first, length),
                    k.select(0, p.b).select(0, p.h).slice(0, p.column, p.columns).slice(1, first, length), sums);
  };
  const auto finish = [&](Index tile, const T* first, auto&& next) {
    const Place p = place(tile);
    ScratchFrame frame;
    T* const total = frame.take<T>(kernel::kGramTile<T>);
    std::copy_n(first, kernel::kGramTile<T>, total);
    for (Index r = 1; r < runs; ++r) {
      const T* const more = next(r);
      for (Index i = 0; i < p.rows; ++i)
        for (Index j = 0; j < width; ++j) total[i * width + j] += more[i * width + j];
      for (Index i = width * width; i < kernel::kGramTile<T>; ++i) total[i] += more[i];
    }
    T* const inverse = total + width * width;
    for (Index i = 0; i < 2 * width; ++i) inverse[i] = T(1) / std::max(std::sqrt(inverse[i]), T(eps));
    for (Index i = 0; i < p.rows; ++i)
      for (Index j = 0; j < p.columns; ++j)
        out(p.b, p.h, p.row + i, p.column + j) = total[i * width + j] * inverse[i] * inverse[width + j];
  };
  // The runs of a tile on as many threads only where there are few tiles: their sums take memory.
  if (runs > 1 && tiles < 2 * thread_count(device)) {
    ScratchFrame shared;
    T* const sums = shared.take<T>(tiles * runs * kernel::kGramTile<T>);
    const auto of = [&](Index tile, Index r) { return sums + (tile * runs + r) * kernel::kGramTile<T>; };
    parallel_for(device, tiles * runs,
                 [&](Index unit) { sum_run(unit / runs, unit % runs, of(unit / runs, unit % runs)); });
    for (Index tile = 0; tile < tiles; ++tile) finish(tile, of(tile, 0), [&](Index r) { return of(tile, r); });
  } else {
    parallel_for(device, tiles, [&](Index tile) {
      ScratchFrame frame;
      T* const first = frame.take<T>(kernel::kGramTile<T>);
      T* const more = frame.take<T>(kernel::kGramTile<T>);
      sum_run(tile, 0, first);
      finish(tile, first, [&](Index r) {
        sum_run(tile, r, more);
        return more;
      });
    });
  }
}
template <Device D, Operand Q, Operand K>
auto cosine_similarity(const D& device, const Q& q, const K& k, double eps = 1e-12) {
  const auto sizes = detail::cosine_sizes(sizes_of(q), sizes_of(k), eps);
  auto out = make_output<Compute<OperandScalar<Q>>, 4>("cosine_similarity", sizes, q, k);
  cosine_similarity(device, q, k, eps, out);
  return out;
}

/// The gradients of cosine_similarity, given its result, added to d_q and d_k; one of null data is not wanted. With
/// c = 1 / max(|row|, eps): d_q += c_i d_out c_j k - (sum over j of d_out out) c_i^2 q, without the second term where
/// the norm is below eps, and likewise d_k.
template <Device D, Real T>
void cosine_similarity_backward(const D& device, const View<const T, 4>& q, const View<const T, 4>& k, double eps,
                                const View<const T, 4>& out, const View<const T, 4>& d_out, const View<T, 4>& d_q,
                                const View<T, 4>& d_k) {
  if (d_out.count() == 0 || q.size(3) == 0) return;
  ScratchFrame frame;
  const View<const T, 4> of_q = detail::inverse_norms<D, T>(frame, device, q, eps);
  const View<const T, 4> of_k = detail::inverse_norms<D, T>(frame, device, k, eps);
  const auto across = View<const T, 4>(of_k).permute({0, 1, 3, 2});
  const View<T, 4> scaled(frame.take<T>(d_out.count()), d_out.sizes);
  kernel::elementwise<kernel::Write::kAssign, T>(
      device, [](auto d, auto a, auto b) { return d * a * b; }, scaled, d_out,
      of_q.broadcast(d_out.sizes, "cosine_similarity", "norms"),
      across.broadcast(d_out.sizes, "cosine_similarity", "norms"));
  const auto turned = [](const View<const T, 4>& x) { return x.permute({0, 1, 3, 2}); };
  detail::cosine_backward_of<D, T>(device, q, k, of_q, out, d_out, scaled, eps, d_q);
  detail::cosine_backward_of<D, T>(device, k, q, of_k, turned(out), turned(d_out), turned(scaled), eps, d_k);
}

}  // namespace heed::inline HEED_ISA
