// SPDX-License-Identifier: Apache-2.0
// spatial_gate: the spatial half of CBAM, a convolution of the largest and the mean of the channels.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = x * g, or x * g + x with `residual`; g = sigmoid(BN(conv([m, u]))), m the largest and u the mean of the
/// channels at each position, the convolution with the padding that keeps the size.
///
/// x (B, C, h, w), out as x; conv.weight (1, 2, k, k) with odd k, no bias; bn.{weight,bias,mean,var} (1), or all empty
/// for no norm. Maps smaller than the kernel see zeros around them. Throws heed::Error for shapes that do not fit and a
/// map without positions. The same bits for any number of threads.
/// Source: Woo et al. 2018. Other users of it take the mean first and no norm (kMeanMax), or keep x beside
/// the gated map (residual).
template <Real T>
struct SpatialGate {
  enum class Order { kMaxMean, kMeanMax };
  struct Options {
    Order order = Order::kMaxMean;  ///< which of the two is the first channel of the convolution
    bool residual = false;
  };

  Options options = {};
  Conv2d<T> conv = {};
  BatchNorm<T> bn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("conv.weight", conv.weight);
    visit_part("bn.", bn, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const auto g = factor(device, x);
    if (options.residual) return residual_gate(device, x, g);
    return gate(device, x, g);
  }

  /// g (B, 1, h, w).
  template <Device D, Operand X>
  auto factor(const D& device, const X& x) const {
    require_map(kName, x);
    const Index k = conv.weight.dimension(2);
    require_parameter(kName, "conv.weight", conv.weight, {1, 2, k, k});
    require(k % 2 == 1, kName, "conv.weight must have an odd kernel, got ", k);
    const auto most = max(device, x, {1});
    const auto average = mean(device, x, {1});
    const bool mean_first = options.order == Order::kMeanMax;
    const auto both = mean_first ? concat<1>(device, average, most) : concat<1>(device, most, average);
    const auto logits = conv_2d(device, both, conv.weight, conv.bias, ConvOptions::same(k));
    return sigmoid(device, bn.mean.size() > 0 ? bn(device, logits) : logits);
  }

 private:
  static constexpr std::string_view kName = "spatial_gate";
};

}  // namespace heed::inline HEED_ISA
