// SPDX-License-Identifier: Apache-2.0
// visual_attention_redistribution: attention that visual sinks swallow, given to the rest of the image.
#pragma once

#include <vector>

#include "heed/block/attention_sinks.hpp"
#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// Token j is a sink if max over sink_dims of |hidden_j / sqrt(mean of hidden_j^2 + 1e-6)| > tau; a visual one among
/// the image tokens, else a text sink. A row of a head is edited whose visual sinks have at most `rho` of its attention
/// to the image (sum of weights + 1e-6 each), which gives the image at least `summ`, and which, in prefill, stands
/// behind the image. There every sink keeps p of its weight, and what they lose goes to the image tokens that are no
/// sinks, in the ratio of their weights: the sum of the row stays.
///
///   heed::VisualAttentionRedistribution redistribute{{.image_start = 35, .image_len = 576, .sink_dims = {1415,
///   2533}}}; auto [sink_mask, weights] = redistribute(attn, hidden);
///
/// attn (1, H, N, M), softmax weights; hidden (1, L, C), the layer's input at prefill, L <= M; sink_mask (L) of
/// std::uint8_t; out (1, H, N, M). Without a visual sink, and for rows with no weight on other image tokens, nothing
/// changes. It is applied from the third layer on, but for the last, before the weights meet the values. For inference:
/// no gradient. Throws heed::Error for shapes and options that do not fit. Source: Kang et al. 2025 (VAR),
/// seilk/VisAttnSink.
struct VisualAttentionRedistribution {
  struct Options {
    double tau = 20;
    double rho = 0.5;
    double summ = 0.2;
    double p = 0.6;
    Index image_start = 0;
    Index image_len = 0;
    std::vector<Index> sink_dims = {};  ///< channels of massive activation, which differ by model
    bool prefill = true;
  };
  template <class T>
  struct Result {
    Tensor<std::uint8_t, 1> sink_mask;
    Tensor<T, 4> out;
  };

  Options options = {};

  template <TensorLike A, TensorLike X>
  auto operator()(const A& attn, const X& hidden) const {
    return (*this)(DeviceRef(), attn, hidden);
  }
  template <Device D, TensorLike A, TensorLike X>
  auto operator()(const D& device, const A& attn, const X& hidden) const {
    static_assert(kRankOf<A> == 4 && kRankOf<X> == 3 && Real<ScalarOf<A>>,
                  "heed::VisualAttentionRedistribution: attn is (1, H, N, M) of float or double, hidden (1, L, C)");
    constexpr std::string_view name = "visual_attention_redistribution";
    const auto states = const_view(hidden);
    require(const_view(attn).size(0) == 1 && states.size(0) == 1, name,
            "attn and hidden must have a batch of 1, got shapes ", shape_text(const_view(attn).sizes), " and ",
            shape_text(states.sizes));
    Result<ScalarOf<A>> result{heed::sink_mask(states.select(0, 0), options.sink_dims, options.tau),
                               contiguous(device, attn)};
    const Index behind = options.image_start + options.image_len;
    redistribute_sinks(
        device, view(result.out), const_view(result.sink_mask),
        {options.rho, options.summ, options.p, options.image_start, options.image_len, options.prefill ? behind : 0});
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
