// SPDX-License-Identifier: Apache-2.0
// Random and simple layers for tests of large-kernel attention.
#pragma once

#include "heed/block/conv_1d.hpp"
#include "support/channel.hpp"

namespace heed::test {

inline Conv2d<double> depthwise_layer(Index channels, Index kh, Index kw) {
  return {fill<4>({channels, 1, kh, kw}), fill<1>({channels})};
}
inline ConvChannels<double> random_pointwise(Index out, Index in) { return {fill<2>({out, in}), fill<1>({out})}; }

/// A depthwise kernel of one 1 among zeros, without a bias.
inline Conv2d<double> only_tap(Index channels, Index kh, Index kw, Index row, Index column) {
  Conv2d<double> layer{Tensor<double, 4>(channels, 1, kh, kw), {}};
  layer.weight.setZero();
  for (Index c = 0; c < channels; ++c) layer.weight(c, 0, row, column) = 1;
  return layer;
}
inline ConvChannels<double> identity(Index channels) {
  ConvChannels<double> layer{Tensor<double, 2>(channels, channels), {}};
  layer.weight.setZero();
  for (Index c = 0; c < channels; ++c) layer.weight(c, c) = 1;
  return layer;
}

}  // namespace heed::test
