// SPDX-License-Identifier: Apache-2.0
// What tests of token mixers share: gradients of their blocks, and random layers.
#pragma once

#include "heed/autodiff/depthwise_1d.hpp"
#include "heed/autodiff/selective_scan.hpp"
#include "heed/block/mlp.hpp"
#include "heed/linear/selective_token_mixer.hpp"
#include "support/channel.hpp"

namespace heed::test {

inline Linear<double> layer(Index out, Index in, bool bias = true) {
  return {fill<2>({out, in}), bias ? fill<1>({out}) : Tensor<double, 1>()};
}
inline LayerNorm<double> random_layer_norm(Index channels) { return {fill<1>({channels}), fill<1>({channels})}; }
inline Mlp<double> random_mlp(Index channels, Index inner) { return {layer(inner, channels), layer(channels, inner)}; }

/// Of C channels, E inner ones, n states and a step of rank R.
struct MixerSizes {
  Index channels, inner, states, rank, taps;
};

inline SelectiveStateSpace<double> random_state_space(const MixerSizes& s) {
  return {fill<2>({s.rank + 2 * s.states, s.inner}), layer(s.inner, s.rank), fill<2>({s.inner, s.states}),
          fill<1>({s.inner})};
}
inline SelectiveTokenMixer<double> random_token_mixer(const MixerSizes& s, bool bidirectional) {
  SelectiveTokenMixer<double> mix{{.bidirectional = bidirectional}};
  mix.in = layer(s.inner, s.channels);
  mix.gate = layer(s.inner, s.channels);
  mix.conv_weight = fill<3>({s.inner, 1, s.taps});
  mix.conv_bias = fill<1>({s.inner});
  mix.scan = random_state_space(s);
  if (bidirectional) mix.bwd = random_state_space(s);
  mix.out = layer(s.channels, s.inner);
  return mix;
}

}  // namespace heed::test
