// SPDX-License-Identifier: Apache-2.0
// gather: chosen rows of every matrix of a tensor.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The sizes (.., K, C) of rows of x (.., M, C) by indices (.., K), after checks of both.
template <int Rank>
std::array<Index, std::size_t(Rank)> gather_sizes(std::array<Index, std::size_t(Rank)> x,
                                                  const View<const std::int32_t, Rank - 1>& indices) {
  auto sizes = x;
  sizes[std::size_t(Rank) - 2] = indices.sizes.back();
  for (std::size_t axis = 0; axis + 2 < std::size_t(Rank); ++axis)
    require(indices.sizes[axis] == x[axis], "gather",
            "indices (.., K) must have the leading axes of x (.., M, C), got ", shape_text(indices.sizes), " and ",
            shape_text(x));
  const Index rows = x[std::size_t(Rank) - 2];
  const kernel::Rows which(indices, 0);
  for (Index i = 0; i < which.count(); ++i)
    require(*which.row(i) < rows, "gather", "index ", *which.row(i), " (number ", i, ") is beyond the ", rows,
            " rows of x");
  return sizes;
}

// Calls f(device, matrix, indices, rows) for every leading index: on all threads where there are enough of them, else
// one after the other with the threads inside. Every matrix is done in one order either way.
template <class D, class F, class UX, class UR, int Rank>
void for_each_gather(const D& device, const View<UX, Rank>& x, const View<const std::int32_t, Rank - 1>& indices,
                     const View<UR, Rank>& rows, const F& f) {
  if constexpr (Rank == 2) {
    f(device, x, indices, rows);
  } else {
    const Index count = x.size(0);
    const auto one = [&](const auto& on, Index i) {
      for_each_gather(on, x.select(0, i), indices.select(0, i), rows.select(0, i), f);
    };
    if (count < 2 * thread_count(device)) {
      for (Index i = 0; i < count; ++i) one(device, i);
    } else {
      parallel_for(device, count, [&](Index i) { one(Eigen::DefaultDevice(), i); });
    }
  }
}

}  // namespace detail

/// out(.., i, :) = x(.., indices(.., i), :), zeros where the index is negative: x (.., M, C), indices (.., K) int32 of
/// the same leading axes, out (.., K, C) of x's type. Any strides and storage. Throws heed::Error, before anything is
/// written, for an index of M or more and shapes that do not fit. Time O(K C) for each matrix.
///
/// Gradient: of x, gather_backward: rows that were taken more than once sum up. The indices have none.
template <Device D, TensorLike X, TensorLike I, TensorLike O>
void gather(const D& device, const X& x, const I& indices, O&& out) {
  constexpr int rank = kRankOf<X>;
  static_assert(rank >= 2 && kRankOf<I> == rank - 1 && std::same_as<ScalarOf<I>, std::int32_t>,
                "heed::gather: x is (.., M, C) and indices (.., K), of std::int32_t");
  static_assert(std::same_as<ScalarOf<X>, ScalarOf<O>>, "heed::gather: out has the type of x");
  const auto to = view(out);
  require_shape("gather", "out", to.sizes, detail::gather_sizes<rank>(const_view(x).sizes, const_view(indices)));
  if (to.count() == 0) return;
  detail::for_each_gather(device, const_view(x), const_view(indices), to,
                          [](const auto& on, const auto& matrix, const auto& which, const auto& rows) {
                            kernel::gather_rows(on, matrix, kernel::Rows(which, 0), kernel::Rows(rows));
                          });
}
template <Device D, Operand X, TensorLike I>
auto gather(const D& device, const X& x, const I& indices) {
  constexpr int rank = kOperandRank<X>;
  const auto sizes = detail::gather_sizes<rank>(sizes_of(x), const_view(indices));
  auto out = make_output<OperandScalar<X>, rank>("gather", sizes, x);
  gather(device, x, indices, out);
  return out;
}
template <Operand X, TensorLike I>
auto gather(const X& x, const I& indices) {
  return gather(DeviceRef(), x, indices);
}

/// The gradient of gather, added to d_x, rows of one index in their order: the same bits for any device. Nothing if d_x
/// has no data.
template <Device D, Real T, int Rank>
void gather_backward(const D& device, const View<const std::int32_t, Rank - 1>& indices,
                     const View<const T, Rank>& d_out, const View<T, Rank>& d_x) {
  if (!d_x.data || d_out.count() == 0) return;
  detail::for_each_gather(device, d_x, indices, d_out,
                          [](const auto& on, const auto& matrix, const auto& which, const auto& rows) {
                            kernel::scatter_add_rows<T>(on, kernel::Rows(rows), kernel::Rows(which, 0), matrix);
                          });
}

/// Which rows of gather are rows of x: 1 where the index is not negative, in the shape of the indices.
template <TensorLike I>
auto gathered_mask(const I& indices) {
  const kernel::Rows from(const_view(indices), 0);
  Tensor<std::uint8_t, kRankOf<I>> mask;
  mask.resize(const_view(indices).sizes);
  for (Index i = 0; i < from.count(); ++i) mask.data()[i] = *from.row(i) >= 0;
  return mask;
}

}  // namespace heed::inline HEED_ISA
