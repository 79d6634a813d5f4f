// SPDX-License-Identifier: Apache-2.0
// attention_flow: attention through all layers, as a maximum flow.
#pragma once

#include "heed/analysis/attention_rollout.hpp"
#include "heed/block/layered_flow.hpp"

namespace heed::inline HEED_ISA {

/// out(l, i, j) = the maximum flow from token i above layer l down to input token j, through layers whose edges have
/// the weights A of AttentionRollout with the residual as capacities; rows are then divided by their sums.
///
/// x (L, H, N, N), attention weights; out (L, N, N). No gradient. Throws heed::Error for shapes that do not fit. L N^2
/// maximum flows: for small N. Source: Abnar and Zuidema 2020.
struct AttentionFlow {
  template <TensorLike X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, TensorLike X>
  auto operator()(const D& device, const X& x) const {
    const auto flow = layered_flow(device, detail::layer_maps("attention_flow", device, x, true));
    return divide(device, flow, sum(device, flow, {2}));
  }
};

}  // namespace heed::inline HEED_ISA
