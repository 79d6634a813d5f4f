// SPDX-License-Identifier: Apache-2.0
// merge_routes: what a query got from each of its runs of keys, put together by the log-sum-exps.
#pragma once

#include "heed/attention/merge.hpp"

namespace heed::inline HEED_ISA {

/// out(b, h, i) = sum over s of exp(lses(b, h, p_s) - lse) outputs(b, h, p_s) with p_s = place(b, h, i, s), none where
/// that is -1, and lse the log of the sum of their exp(lses): outputs (B, H, P, D), lses (B, H, P), place (B, H, N, S)
/// int32, out (B, H, N, D), all of float or all of double. A query without a place, or whose states saw no key, gets 0.
/// Throws heed::Error for shapes that do not fit. O(B H N S D); the same bits on any device.
///
/// Gradient: of outputs and lses, merge_routes_backward.
template <Device D, Real T>
void merge_routes(const D& device, const View<const T, 4>& outputs, const View<const T, 3>& lses,
                  const View<const std::int32_t, 4>& place, const View<T, 4>& out) {
  const std::array<Index, 3> rows{outputs.size(0), outputs.size(1), outputs.size(2)};
  const std::array<Index, 4> results{outputs.size(0), outputs.size(1), place.size(2), outputs.size(3)};
  require_shape("merge_routes", "lses", lses.sizes, rows);
  require_shape("merge_routes", "out", out.sizes, results);
  const Index slots = place.size(3), width = out.size(3);
  detail::for_each_query(device, results[0], results[1], results[2], [&](Index b, Index h, Index i) {
    ScratchFrame frame;
    T* const weights = frame.take<T>(slots);
    const auto lse_of = [&](Index s) {
      const Index p = place(b, h, i, s);
      return p < 0 ? -std::numeric_limits<T>::infinity() : lses(b, h, p);
    };
    detail::merge_weights<T>(slots, lse_of, weights);
    for (Index d = 0; d < width; d += simd::kLanes<T>) {
      simd::Batch<T> sum(T(0));
      for (Index s = 0; s < slots; ++s) {
        if (weights[s] == T(0)) continue;
        const auto part = detail::load_part<T>(outputs.at(b, h, place(b, h, i, s)), outputs.stride(3), d, width);
        sum = simd::fma(part, simd::Batch<T>(weights[s]), sum);
      }
      detail::store_part<T>(sum, out.at(b, h, i), out.stride(3), d, width);
    }
  });
}

/// The gradients of merge_routes, added: with w_s = exp(lses_s - lse),
///
///   d_outputs_s += w_s d_out         d_lses_s += w_s <d_out, outputs_s - out>
///
/// A place belongs to one query. A view of null data is not wanted. The same bits on any device.
template <Device D, Real T>
void merge_routes_backward(const D& device, const View<const T, 4>& outputs, const View<const T, 3>& lses,
                           const View<const std::int32_t, 4>& place, const View<const T, 4>& d_out,
                           const View<T, 4>& d_outputs, const View<T, 3>& d_lses) {
  const Index slots = place.size(3), width = outputs.size(3);
  detail::for_each_query(device, d_out.size(0), d_out.size(1), d_out.size(2), [&](Index b, Index h, Index i) {
    ScratchFrame frame;
    T* const weights = frame.take<T>(slots);
    T* const along = frame.take<T>(slots);  // <d_out, outputs_s>
    const auto lse_of = [&](Index s) {
      const Index p = place(b, h, i, s);
      return p < 0 ? -std::numeric_limits<T>::infinity() : lses(b, h, p);
    };
    detail::merge_weights<T>(slots, lse_of, weights);
    T mean = 0;
    for (Index s = 0; s < slots; ++s) {
      if (weights[s] == T(0)) continue;
      const Index p = place(b, h, i, s);
      simd::Batch<T> sum(T(0));
      for (Index c = 0; c < width; c += simd::kLanes<T>) {
        const auto part = detail::load_part<T>(d_out.at(b, h, i), d_out.stride(3), c, width);
        sum = simd::fma(detail::load_part<T>(outputs.at(b, h, p), outputs.stride(3), c, width), part, sum);
        if (!d_outputs.data) continue;
        const auto old = detail::load_part<T>(d_outputs.at(b, h, p), d_outputs.stride(3), c, width);
        detail::store_part<T>(simd::fma(part, simd::Batch<T>(weights[s]), old), d_outputs.at(b, h, p),
                              d_outputs.stride(3), c, width);
      }
      along[s] = simd::reduce_add<T>(sum);
      mean += weights[s] * along[s];
    }
    if (!d_lses.data) return;
    for (Index s = 0; s < slots; ++s)
      if (weights[s] != T(0)) d_lses(b, h, place(b, h, i, s)) += weights[s] * (along[s] - mean);
  });
}

}  // namespace heed::inline HEED_ISA
