// SPDX-License-Identifier: Apache-2.0
// channel_affinity_attention: self-attention whose tokens are the channels of a map, without projections.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = gamma * softmax(s f f^T) f + x, with the channels of x as the rows of f (C, N), N = h w, and s = -1 if
/// `inverted`, else 1.
///
/// x (B, C, h, w), out as x; gamma (1), 0 at the start of the authors' training. The paper's equation favours like
/// channels (inverted = false); all released codes subtract the scores from their largest, which favours unlike ones:
/// that is the default. Scores grow with N, and the softmax soon has one term. Throws heed::Error for a map without
/// positions or whose rows do not follow each other in memory. Time O(B C^2 N), memory B C^2 beside the result. The
/// same bits for any number of threads. Source: Fu et al. 2019 (DANet), the channel attention module; reused by Sinha
/// and Dolz 2020 and by QTSeg.
template <Real T>
struct ChannelAffinityAttention {
  struct Options {
    bool inverted = true;
  };

  Options options = {};
  Tensor<T, 1> gamma = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("gamma", gamma);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    require_parameter(kName, "gamma", gamma, {1});
    const auto sizes = sizes_of(x);
    const auto channels = view(x).merge(2);
    const auto scores = matmul(device, channels, channels.permute({0, 2, 1}));
    const auto weights = softmax(device, scale(device, scores, options.inverted ? -1 : 1));
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<3>({sizes[0], sizes[1], sizes[2] * sizes[3]});
    matmul(device, weights, channels, mixed);
    return multiply_add(device, mixed.template reshape<4>(sizes), gamma, x);
  }

 private:
  static constexpr std::string_view kName = "channel_affinity_attention";
};

}  // namespace heed::inline HEED_ISA
