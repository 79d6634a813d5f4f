// SPDX-License-Identifier: Apache-2.0
// external_attention: attention of positions to a learned memory of slots, normalised twice.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// weight / (1e-9 + total): the share of one slot among all.
struct SlotShare {
  static constexpr std::string_view kName = "external_attention";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> weight, simd::Batch<T> total) const {
    return weight / (total + simd::Batch<T>(T(1e-9)));
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> weight, simd::Batch<T> total) const {
    const simd::Batch<T> by = d / (total + simd::Batch<T>(T(1e-9)));
    if constexpr (Operand == 0) {
      return by;
    } else {
      return -by * weight / (total + simd::Batch<T>(T(1e-9)));
    }
  }
};

}  // namespace detail

/// out = relu(BN(conv2(mv A)) + x); A = the softmax over all positions of mk f, one for each slot, then divided by 1e-9
/// + its sum over the slots at each position; f = conv1(x).
///
/// x (B, C, h, w), out as x; conv1.weight (C, C), conv1.bias (C) or empty, mk.weight (S, C), mv.weight (C, S),
/// conv2.weight (C, C), bn.{weight,bias,mean,var} (C). The number of slots S (the paper: 64) follows from the shapes.
/// conv1.bias has no effect. Throws heed::Error for shapes that do not fit and a map without positions. Time
/// O(B N C (S + C)) with N = h w. The same bits for any number of threads.
/// Source: Guo et al. 2021 (EANet), figure 1 and the authors' code, in whose residual block it stands.
template <Real T>
struct ExternalAttention {
  ConvChannels<T> conv1 = {}, mk = {}, mv = {}, conv2 = {};
  BatchNorm<T> bn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "conv1.", conv1, "mk.", mk, "mv.", mv, "conv2.", conv2, "bn.", bn);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    const Index channels = sizes[1], slots = mk.weight.dimension(0);
    require_parameter(kName, "conv1.weight", conv1.weight, {channels, channels});
    require_parameter(kName, "mk.weight", mk.weight, {-1, channels});
    require_parameter(kName, "mv.weight", mv.weight, {channels, slots});
    require_parameter(kName, "conv2.weight", conv2.weight, {channels, channels});
    const auto logits = mk(device, conv1(device, x));
    const auto weights = softmax(device, view(logits).merge(2));  // (B, S, N)
    const auto total = sum(device, weights, {1});
    const auto share = pointwise(detail::SlotShare(), device, weights, total);
    const auto mixed = conv2(device, mv(device, share));
    const auto normal = bn(device, mixed);
    return relu(device, add(device, view(normal).template reshape<4>(sizes), x));
  }

 private:
  static constexpr std::string_view kName = "external_attention";
};

}  // namespace heed::inline HEED_ISA
