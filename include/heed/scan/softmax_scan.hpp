// SPDX-License-Identifier: Apache-2.0
// softmax_scan: means of values over time, weighted by one score for each token.
#pragma once

#include <cmath>
#include <limits>

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class UG, class UV, class UO>
void check_softmax_scan(const View<UG, 3>& g, const View<UV, 4>& v, const View<UO, 4>& out) {
  require(g.size(0) == v.size(0) && g.size(1) == v.size(1) && g.size(2) == v.size(2), "softmax_scan",
          "scores must have shape (B, H, N), the axes of v ", shape_text(v.sizes), ", got ", shape_text(g.sizes));
  require(out.sizes == v.sizes, "softmax_scan", "out must have shape (B, H, N, D) = ", shape_text(v.sizes), ", got ",
          shape_text(out.sizes));
}

// The logarithm of the sum of e^g up to each token. In double: the steps between its elements are what counts.
template <class U>
void running_log_sum(const U* g, Index stride, Index count, double* sums) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (Index i = 0; i < count; ++i) {
    const double x = static_cast<double>(g[i * stride]);
    if (x > most) {
      sum = sum * std::exp(most - x) + 1;
      most = x;
    } else if (x != -std::numeric_limits<double>::infinity()) {
      sum += std::exp(x - most);
    }
    sums[i] = most + std::log(sum);
  }
}

}  // namespace detail

/// out_i = sum over j of e^g_j v_j / sum over j of e^g_j, where j runs up to i, or over all tokens if not causal:
/// softmax attention whose queries are all alike. g (B, H, N), v and out (B, H, N, D); any strides, float or double.
///
/// Sums run along the tokens with the largest score so far subtracted, as in online softmax: O(B H N D) time, one row
/// of numbers as memory. Tokens of score -infinity count for nothing, and their values are not read; before the first
/// other one out is 0. Throws heed::Error for shapes that do not fit. The same bits for any number of threads.
///
/// Gradient: of g and v, softmax_scan_backward, two passes over the tokens.
template <Device D, TensorLike G, TensorLike V, TensorLike O>
void softmax_scan(const D& device, const G& g_like, const V& v_like, bool causal, O&& out_like) {
  using T = ScalarOf<V>;
  static_assert(Real<T> && std::same_as<ScalarOf<G>, T> && std::same_as<ScalarOf<O>, T>,
                "heed::softmax_scan: g, v and out must all be float or all be double");
  const auto g = const_view(g_like);
  const auto v = const_view(v_like);
  const View<T, 4> out = view(out_like);
  detail::check_softmax_scan(g, v, out);
  const Index heads = v.size(1), tokens = v.size(2), width = v.size(3);
  if (v.count() == 0) return;
  parallel_for(device, v.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    ScratchFrame frame;
    T* const sum = frame.take<T>(width);
    std::fill_n(sum, width, T(0));
    T most = -std::numeric_limits<T>::infinity(), total = 0;
    const auto mean = [&](Index i) {
      const T by = total > 0 ? 1 / total : T(0);
      T* const to = out.at(b, h, i);
      for (Index c = 0; c < width; ++c) to[c * out.stride(3)] = by * sum[c];
    };
    for (Index j = 0; j < tokens; ++j) {
      const T x = g(b, h, j);
      if (x > most) {
        const T by = std::exp(most - x);
        for (Index c = 0; c < width; ++c) sum[c] *= by;
        total *= by;
        most = x;
      }
      if (x != -std::numeric_limits<T>::infinity()) {
        const T weight = std::exp(x - most);
        kernel::add_multiple(weight, v.at(b, h, j), v.stride(3), width, sum, 1);
        total += weight;
      }
      if (causal) mean(j);
    }
    for (Index i = causal ? tokens : 0; i < tokens; ++i) mean(i);
  });
}
template <Device D, TensorLike G, TensorLike V>
auto softmax_scan(const D& device, const G& g, const V& v, bool causal) {
  Tensor<ScalarOf<V>, 4> out(const_view(v).sizes);
  softmax_scan(device, g, v, causal, out);
  return out;
}

/// The gradients of softmax_scan, given its result, added to d_g and d_v; one of null data is not wanted.
///
/// With L_i the logarithm of the sum up to i, A_j = sum over i >= j of e^(L_j - L_i) d_out_i, and c_j the same of
/// d_out_i . out_i, run backwards with factors of at most 1; d_v_j = e^(g_j - L_j) A_j, d_g_j = d_v_j . v_j -
/// e^(g_j - L_j) c_j.
template <Device D, Real T>
void softmax_scan_backward(const D& device, const View<const T, 3>& g, const View<const T, 4>& v, bool causal,
                           const View<const T, 4>& out, const View<const T, 4>& d_out, const View<T, 3>& d_g,
                           const View<T, 4>& d_v) {
  const Index heads = v.size(1), tokens = v.size(2), width = v.size(3);
  if (v.count() == 0) return;
  parallel_for(device, v.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    ScratchFrame frame;
    double* const sums = frame.take<double>(tokens);
    T* const later = frame.take<T>(width);
    std::fill_n(later, width, T(0));
    detail::running_log_sum(g.at(b, h), g.stride(2), tokens, sums);
    if (!causal) std::fill_n(sums, tokens, sums[tokens - 1]);
    double common = 0;
    const auto dot = [&](const T* a, Index a_stride, const T* x, Index x_stride) {
      T result = 0;
      for (Index c = 0; c < width; ++c) result += a[c * a_stride] * x[c * x_stride];
      return result;
    };
    const auto take = [&](Index i) {
      kernel::add_multiple(T(1), d_out.at(b, h, i), d_out.stride(3), width, later, 1);
      common += double(dot(d_out.at(b, h, i), d_out.stride(3), out.at(b, h, i), out.stride(3)));
    };
    for (Index i = causal ? tokens : 0; i < tokens; ++i) take(i);
    for (Index j = tokens - 1; j >= 0; --j) {
      if (sums[j] == -std::numeric_limits<double>::infinity()) break;  // it and all before it count for nothing
      if (causal) {
        if (j + 1 < tokens) {
          const double by = std::exp(sums[j] - sums[j + 1]);
          for (Index c = 0; c < width; ++c) later[c] *= T(by);
          common *= by;
        }
        take(j);
      }
      const double x = double(g(b, h, j));
      if (x == -std::numeric_limits<double>::infinity()) continue;
      const double weight = std::exp(x - sums[j]);
      if (d_v.data) kernel::add_multiple(T(weight), later, 1, width, d_v.at(b, h, j), d_v.stride(3));
      if (d_g.data) d_g(b, h, j) += T(weight * (double(dot(later, 1, v.at(b, h, j), v.stride(3))) - common));
    }
  });
}

}  // namespace heed::inline HEED_ISA
