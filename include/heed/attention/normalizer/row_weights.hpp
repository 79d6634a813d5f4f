// SPDX-License-Identifier: Apache-2.0
// row_weighted_attention: attention whose weights are any function of a row of scores.
#pragma once

#include <cmath>
#include <optional>

#include "heed/block/entmax.hpp"
#include "heed/kernel/rows.hpp"
#include "heed/kernel/triangle_product.hpp"

namespace heed::inline HEED_ISA {

/// What a row_weighted_attention sees.
struct RowAttentionOptions {
  bool causal = false;                         ///< j <= i + M - N
  std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  View<const std::uint8_t, 2> key_mask = {};   ///< (B, M), 1 = visible, or empty

  double scale_of(Index width) const { return scale.value_or(1 / std::sqrt(double(width))); }
};

/// Weights by alpha-entmax; the parameter, if there is one, is alpha (H).
struct EntmaxWeights {
  double alpha = 1.5;

  template <Real T>
  void check(const View<const T, 1>& parameter, Index heads) const {
    require(parameter.size(0) == 0 || parameter.size(0) == heads, "entmax_attention",
            "head_alpha must be empty or have shape (H) = (", heads, "), got ", shape_text(parameter.sizes));
    for (Index h = 0; h < heads; ++h) detail::check_alpha("entmax_attention", alpha_of(parameter, h));
  }
  /// Scores, -infinity where hidden, to weights.
  template <Real T>
  void weigh(T* row, Index width, const View<const T, 1>& parameter, Index head, Index) const {
    kernel::entmax_row<T>(row, width, alpha_of(parameter, head), row);
  }
  /// Given the weights p and their gradient, sets that of the scores; returns that of the parameter if `wanted`.
  template <Real T>
  double backward(const T* p, const T* d_p, Index width, const View<const T, 1>& parameter, Index head, Index,
                  bool wanted, T* d_s) const {
    std::fill_n(d_s, width, T(0));
    kernel::entmax_row_backward<T>(p, d_p, width, alpha_of(parameter, head), d_s);
    return wanted ? kernel::entmax_alpha_gradient<T>(p, d_p, width, alpha_of(parameter, head)) : 0;
  }

 private:
  template <Real T>
  double alpha_of(const View<const T, 1>& parameter, Index head) const {
    return parameter.size(0) > 0 ? double(parameter(head)) : alpha;
  }
};

/// Weights f_i / (1 + e^-(s + bias)) for row i, with f_i = (i + 1)^-power. No parameter.
struct SigmoidWeights {
  double bias = 0, power = 0;

  template <Real T>
  void check(const View<const T, 1>&, Index) const {
    require(std::isfinite(bias), "sigmoid_attention", "bias must be finite, got ", bias);
  }
  template <Real T>
  void weigh(T* row, Index width, const View<const T, 1>&, Index, Index query) const {
    using simd::Batch;
    const Batch<T> shift = Batch<T>(T(bias)), factor(factor_of<T>(query)), one(T(1)), zero(T(0));
    const Batch<T> none(-std::numeric_limits<T>::infinity());
    kernel::for_lanes<T>(width, [&](Index i, auto lanes) {
      const Batch<T> s = kernel::load_lanes<T>(row + i, lanes);
      const Batch<T> p = factor / (one + simd::exp<T>(-(s + shift)));
      simd::store_partial<T>(simd::select(s == none, zero, p), row + i, lanes);
    });
  }
  template <Real T>
  double backward(const T* p, const T* d_p, Index width, const View<const T, 1>&, Index, Index query, bool,
                  T* d_s) const {
    using simd::Batch;
    const Batch<T> inverse(T(1) / factor_of<T>(query)), one(T(1)), zero(T(0));
    kernel::for_lanes<T>(width, [&](Index i, auto lanes) {
      const Batch<T> w = kernel::load_lanes<T>(p + i, lanes);
      const Batch<T> d = kernel::load_lanes<T>(d_p + i, lanes) * w * (one - w * inverse);
      simd::store_partial<T>(simd::select(w == zero, zero, d), d_s + i, lanes);
    });
    return 0;
  }

 private:
  template <Real T>
  T factor_of(Index query) const {
    return T(std::pow(double(query + 1), -power));
  }
};

namespace detail {

inline constexpr Index kWeightRows = 64;  // queries whose weights are held at a time

// Calls f(first, count) for every run of elements that are not 0.
template <Real T, class F>
void for_nonzero_runs(const T* row, Index begin, Index end, const F& f) {
  for (Index j = begin; j < end;) {
    if (row[j] == T(0)) {
      ++j;
      continue;
    }
    Index stop = j + 1;
    while (stop < end && row[stop] != T(0)) ++stop;
    f(j, stop - j);
    j = stop;
  }
}

// sum += w x, for w (n, m), x (m, c), sum (n, c), where what w has 0 for is not read: by a product up to the first 0 of
// any row, by runs of others behind it.
template <Real T>
void add_weighted(const View<const T, 2>& w, const View<const T, 2>& x, const View<T, 2>& sum) {
  const Index keys = w.size(1), width = x.size(1);
  Index dense = keys;
  for (Index i = 0; i < w.size(0); ++i) {
    Index first = 0;
    while (first < dense && w(i, first) != T(0)) ++first;
    dense = first;
  }
  kernel::add_product<T>(DeviceRef(), w.slice(1, 0, dense), x.slice(0, 0, dense), sum);
  if (dense == keys) return;
  ScratchFrame frame;
  const Index padded = kernel::padded<T>(width);
  T* const mixed = frame.take<T>(padded);
  for (Index i = 0; i < w.size(0); ++i) {
    const T* const row = w.at(i);
    if (x.stride(1) != 1) {
      for_nonzero_runs(row, dense, keys, [&](Index first, Index count) {
        for (Index j = first; j < first + count; ++j)
          kernel::add_multiple(row[j], x.at(j), x.stride(1), width, sum.at(i), sum.stride(1));
      });
      continue;
    }
    for (Index c = 0; c < width; ++c) mixed[c] = sum(i, c);
    for_nonzero_runs(row, dense, keys, [&](Index first, Index count) {
      kernel::row_mix<T>(row + first, 0, 1, x.at(first), x.stride(0), count, width, mixed, padded);
    });
    for (Index c = 0; c < width; ++c) sum(i, c) = mixed[c];
  }
}

// sum += w^T x, for w (n, m), x (n, c), sum (m, c): pairs of weight 0 are not read.
template <Real T>
void add_weighted_transposed(const View<const T, 2>& w, const View<const T, 2>& x, const View<T, 2>& sum) {
  for (Index i = 0; i < w.size(0); ++i)
    for_nonzero_runs(w.at(i), 0, w.size(1), [&](Index first, Index count) {
      for (Index j = first; j < first + count; ++j)
        kernel::add_multiple(w(i, j), x.at(i), x.stride(1), x.size(1), sum.at(j), sum.stride(1));
    });
}

/// One head of a row_weighted_attention.
template <class N, Real T>
struct WeightedHead {
  const N& normalizer;
  const View<const T, 1>& parameter;
  const RowAttentionOptions& options;
  View<const T, 2> q, k;
  Index batch, head;

  /// Of the keys, those from here on no query below `queries` sees.
  Index key_end(Index queries) const {
    const Index keys = k.size(0);
    return options.causal ? std::clamp<Index>(queries + keys - q.size(0), 0, keys) : keys;
  }
  /// The weights of queries [first, first + count), on `keys` keys.
  void weigh(Index first, Index count, const View<T, 2>& w) const {
    constexpr T none = -std::numeric_limits<T>::infinity();
    const Index keys = w.size(1);
    if (keys == 0) return;
    const T scale = T(options.scale_of(q.size(1)));
    kernel::gemm(DeviceRef(), q.slice(0, first, count), k.slice(0, 0, keys), View<const T, 1>(), w);
    const auto& mask = options.key_mask;
    for (Index i = 0; i < count; ++i) {
      T* const row = w.at(i);
      const Index seen = key_end(first + i + 1);
      for (Index j = 0; j < seen; ++j) row[j] *= scale;
      if (mask.data)
        for (Index j = 0; j < seen; ++j)
          if (mask(batch, j) == 0) row[j] = none;
      normalizer.template weigh<T>(row, seen, parameter, head, first + i);
      std::fill(row + seen, row + keys, T(0));
    }
  }
};

template <Real T>
void check_row_attention(std::string_view where, const std::array<Index, 4>& q, const std::array<Index, 4>& k,
                         const std::array<Index, 4>& v, const RowAttentionOptions& options) {
  require(q[3] > 0, where, "D must be 1 or more");
  require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3], where, "k must have shape (B, H, M, D) = (", q[0], ", ", q[1],
          ", M, ", q[3], "), got ", shape_text(k));
  require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], where, "v must have shape (B, H, M, Dv) = (", k[0], ", ", k[1],
          ", ", k[2], ", Dv), got ", shape_text(v));
  const std::array<Index, 2> keys{k[0], k[2]};
  require(options.key_mask.data == nullptr || options.key_mask.sizes == keys, where,
          "key_mask must have shape (B, M) = ", shape_text(keys), ", got ", shape_text(options.key_mask.sizes));
  require(std::isfinite(options.scale_of(q[3])), where, "scale must be finite, got ", options.scale_of(q[3]));
}

}  // namespace detail

/// out_i = sum over j of w_ij v_j, with the weights w that a normalizer (EntmaxWeights, SigmoidWeights, or a struct
/// with their members) makes of the row of scores scale * q_i . k_j; -infinity and weight 0 where a key is hidden.
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv), of any strides, all float or all double;
/// `parameter` is what the normalizer says. A pair of weight 0 costs no product with its value and does not read it: a
/// hidden key never changes a result. Throws heed::Error, before anything is written, for shapes that do not fit. Time
/// O(B H N M D) and what the weights that are not 0 cost; the weights of 64 queries are a thread's memory. The same
/// bits for any number of threads.
///
/// Gradient: of q, k, v and the parameter, row_weighted_attention_backward, which computes the weights again.
template <class N, Device D, Real T>
void row_weighted_attention(const D& device, const N& normalizer, const View<const T, 1>& parameter,
                            const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
                            const RowAttentionOptions& options, const View<T, 4>& out) {
  const Index heads = q.size(1), n = q.size(2), bands = (n + detail::kWeightRows - 1) / detail::kWeightRows;
  parallel_for(device, q.size(0) * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, row = unit % bands * detail::kWeightRows;
    const Index count = std::min(detail::kWeightRows, n - row);
    const auto of = [&](const auto& x) { return x.select(0, b).select(0, h); };
    const detail::WeightedHead<N, T> head{normalizer, parameter, options, of(q), of(k), b, h};
    const Index keys = head.key_end(row + count);
    ScratchFrame frame;
    const View<T, 2> w(frame.take<T>(count * keys), {count, keys});
    const View<T, 2> target = of(out).slice(0, row, count);
    for (Index i = 0; i < count; ++i)
      for (Index c = 0; c < target.size(1); ++c) target(i, c) = 0;
    head.weigh(row, count, w);
    if (keys > 0) detail::add_weighted<T>(w, of(v).slice(0, 0, keys), target);
  });
}

/// The gradients of row_weighted_attention, added; one of null data is not wanted.
template <class N, Device D, Real T>
void row_weighted_attention_backward(const D& device, const N& normalizer, const View<const T, 1>& parameter,
                                     const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
                                     const RowAttentionOptions& options, const View<const T, 4>& d_out,
                                     const View<T, 1>& d_parameter, const View<T, 4>& d_q, const View<T, 4>& d_k,
                                     const View<T, 4>& d_v) {
  const Index heads = q.size(1), n = q.size(2), units = q.size(0) * heads;
  const T scale = T(options.scale_of(q.size(3)));
  ScratchFrame shared;
  double* const of_parameter = shared.take<double>(units);  // summed afterwards, in the order of the batches
  parallel_for(device, units, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    const auto of = [&](const auto& x) { return x.select(0, b).select(0, h); };
    const detail::WeightedHead<N, T> head{normalizer, parameter, options, of(q), of(k), b, h};
    of_parameter[unit] = 0;
    ScratchFrame frame;
    T* const w_memory = frame.take<T>(detail::kWeightRows * k.size(2));
    T* const d_memory = frame.take<T>(detail::kWeightRows * k.size(2));
    T* const row_memory = frame.take<T>(k.size(2));
    for (Index row = 0; row < n; row += detail::kWeightRows) {
      const Index count = std::min(detail::kWeightRows, n - row), keys = head.key_end(row + count);
      if (keys == 0) continue;
      const View<T, 2> w(w_memory, {count, keys}), d(d_memory, {count, keys});
      const auto g = of(d_out).slice(0, row, count);
      head.weigh(row, count, w);
      kernel::gemm(DeviceRef(), g, of(v).slice(0, 0, keys), View<const T, 1>(), d);
      for (Index i = 0; i < count; ++i) {
        of_parameter[unit] += normalizer.template backward<T>(w.at(i), d.at(i), keys, parameter, h, row + i,
                                                              d_parameter.data != nullptr, row_memory);
        for (Index j = 0; j < keys; ++j) d(i, j) = scale * row_memory[j];
      }
      if (d_q.data) detail::add_weighted<T>(d, of(k).slice(0, 0, keys), of(d_q).slice(0, row, count));
      if (d_k.data) detail::add_weighted_transposed<T>(d, of(q).slice(0, row, count), of(d_k).slice(0, 0, keys));
      if (d_v.data) detail::add_weighted_transposed<T>(w, g, of(d_v).slice(0, 0, keys));
    }
  });
  if (d_parameter.data)
    for (Index unit = 0; unit < units; ++unit) d_parameter(unit % heads) += T(of_parameter[unit]);
}

}  // namespace heed::inline HEED_ISA
