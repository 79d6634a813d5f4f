// SPDX-License-Identifier: Apache-2.0
// Convolutions with a batch norm behind them, as one layer.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/conv_1d.hpp"

namespace heed::inline HEED_ISA {

/// BN(conv(x)): weight and bias of Layer (Conv2d, ConvChannels, ...) and bn.{weight,bias,mean,var}; the options of a
/// convolution are those of `conv`.
/// Gradient: of the blocks that it is made of.
template <Storage T, template <Storage> class Layer = Conv2d>
struct ConvNorm {
  Layer<T> conv = {};
  BatchNorm<T> bn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "", conv, "bn.", bn);
  }

  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return bn(device, conv(device, x));
  }
  /// relu(BN(conv(x))), of a convolution with these options.
  template <Device D, Operand X>
  auto relu(const D& device, const X& x, const ConvOptions& options) const {
    return heed::relu(device, bn(device, conv_2d(device, x, conv.weight, conv.bias, options)));
  }
  template <Device D, Operand X>
  auto relu(const D& device, const X& x) const {
    return heed::relu(device, (*this)(device, x));
  }
};

}  // namespace heed::inline HEED_ISA
