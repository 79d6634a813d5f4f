// SPDX-License-Identifier: Apache-2.0
// A batch norm, a relu and a convolution behind them, as one layer.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/conv_1d.hpp"

namespace heed::inline HEED_ISA {

/// conv(relu(BN(x))): bn.{weight,bias,mean,var}, and conv.weight and conv.bias of Layer (Conv2d, ConvChannels, ..). The
/// other order is ConvNorm.
/// Gradient: of the blocks that it is made of.
template <Storage T, template <Storage> class Layer = Conv2d>
struct NormConv {
  BatchNorm<T> bn = {};
  Layer<T> conv = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "bn.", bn, "conv.", conv);
  }

  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return conv(device, relu(device, bn(device, x)));
  }
  /// With the options of a Conv2d.
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const ConvOptions& options) const {
    return conv_2d(device, relu(device, bn(device, x)), conv.weight, conv.bias, options);
  }
};

}  // namespace heed::inline HEED_ISA
