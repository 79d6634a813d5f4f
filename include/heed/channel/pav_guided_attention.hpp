// SPDX-License-Identifier: Apache-2.0
// pav_guided_attention: a side vector gates the channels and the parts of a feature.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// out = x * channel * spatial: channel = sigmoid(linear(pav flattened)), spatial = sigmoid of the scores
/// spatial.weight . pav_j + spatial.bias of the J pairs, resized linearly to the P parts with half-pixel centres.
///
/// x (B, C, P), pav (B, J, M), contiguous; out (B, C, P), channel (B, C), spatial (B, P); channel.weight (C, J M),
/// channel.bias (C), spatial.weight (M), spatial.bias (1). Throws heed::Error for shapes that do not fit and for no
/// parts or pairs. Time O(B (C J M + C P)). The same bits for any number of threads. Source: Zhou et al. 2025 (DRF,
/// pose as clinical prior): a transcription, checked against no code of the authors.
template <Real T>
struct PavGuidedAttention {
  template <class Out, class Vectors>
  struct Result {
    Out out;
    Vectors channel, spatial;
  };

  Linear<T> channel = {};
  Tensor<T, 1> spatial_weight = {};
  Tensor<T, 1> spatial_bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("channel.", channel, f);
    f("spatial.weight", spatial_weight);
    f("spatial.bias", spatial_bias);
  }

  template <Operand X, Operand P>
  auto operator()(const X& x, const P& pav) const {
    return (*this)(DeviceRef(), x, pav);
  }
  template <Device D, Operand X, Operand P>
  auto operator()(const D& device, const X& x, const P& pav) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<P> == 3, "heed: x is (B, C, P) and pav (B, J, M)");
    const auto sizes = sizes_of(x);
    const auto pairs = sizes_of(pav);
    require(pairs[0] == sizes[0] && pairs[1] > 0 && pairs[2] > 0 && sizes[2] > 0, kName,
            "pav must have shape (B, J, M) with B = ", sizes[0], ", got ", shape_text(pairs),
            ", and x must have parts");
    require_parameter(kName, "channel.weight", channel.weight, {sizes[1], pairs[1] * pairs[2]});
    require_parameter(kName, "spatial.weight", spatial_weight, {pairs[2]});
    auto by_channel = sigmoid(device, channel(device, view(pav).merge(1)));
    const auto scores = linear(device, pav, const_view(spatial_weight).split(0, pairs[2]), spatial_bias);  // (B, J, 1)
    const auto resized =
        resize_bilinear(device, view(scores).permute({0, 2, 1}).split(2, pairs[1]), {1, sizes[2]});  // (B, 1, 1, P)
    auto by_part = sigmoid(device, view(resized).select(2, 0).select(1, 0));
    auto out = gate(device, x, view(by_channel).split(1, 1), view(by_part).split(1, sizes[2]));
    return Result<decltype(out), decltype(by_channel)>{out, by_channel, by_part};
  }

 private:
  static constexpr std::string_view kName = "pav_guided_attention";
};

}  // namespace heed::inline HEED_ISA
