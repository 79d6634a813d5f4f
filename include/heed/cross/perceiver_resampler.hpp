// SPDX-License-Identifier: Apache-2.0
// perceiver_resampler: any number of visual tokens as a fixed number of latents.
#pragma once

#include <string>
#include <vector>

#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/repeat.hpp"
#include "heed/cross/resampler_attention.hpp"

namespace heed::inline HEED_ISA {

/// For every medium, from l = latents on, layer by layer: l += ResamplerAttention(x, l), l += ffn.fc2(gelu(ffn.fc1(
/// ffn_norm(l)))); out = norm(l). x are all tokens of the medium, with frame_embs[f] added to those of frame f and
/// media_embs[t] to those of medium t.
///
///   heed::PerceiverResampler<float> resample{{.num_heads = 8}};
///   resample.layer.resize(6);
///   auto z = resample(x);                                   // or resample(device, x)
///
/// x (B, T, F, V, C): T media of F frames of V tokens; out (B, T, L, C). latents (L, C); frame_embs (F or more, C) and
/// media_embs (T or more, C), or empty: none are added, nor without the option; layer{i}: the parameters of
/// ResamplerAttention, ffn_norm, ffn.fc1.weight (F', C), ffn.fc2.weight (C, F'), no bias; norm. Throws heed::Error for
/// more frames or media than embeddings, and for shapes that do not fit. O(L (F V + L) C) for each layer and medium.
/// The same bits for any number of threads. Source: Alayrac et al. 2022 (Flamingo), figure 5.
template <Real T>
struct PerceiverResampler {
  struct Options {
    Index num_heads = 8;
    double eps = 1e-5;
    bool frame_embeddings = true;  ///< frame_embs are added, where there are any
    bool media_embeddings = true;
  };
  struct Layer {
    ResamplerAttention<T> attention = {};
    LayerNorm<T> ffn_norm = {};
    Mlp<T> ffn = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", attention, "ffn_norm.", ffn_norm);
      f("ffn.fc1.weight", ffn.fc1.weight);
      f("ffn.fc2.weight", ffn.fc2.weight);
    }
  };

  Options options = {};
  Tensor<T, 2> latents = {}, frame_embs = {}, media_embs = {};
  std::vector<Layer> layer = std::vector<Layer>(6);
  LayerNorm<T> norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("latents", latents);
    f("frame_embs", frame_embs, heed::optional);
    f("media_embs", media_embs, heed::optional);
    for (std::size_t i = 0; i < layer.size(); ++i) visit_part("layer" + std::to_string(i) + ".", layer[i], f);
    visit_part("norm.", norm, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 5, "heed::PerceiverResampler: x is (B, T, F, V, C)");
    const auto s = sizes_of(x);
    const bool by_frame = options.frame_embeddings && frame_embs.size() > 0;
    const bool by_medium = options.media_embeddings && media_embs.size() > 0;
    if (by_frame) check_embeddings("frame_embs", frame_embs, s[2], s[4]);
    if (by_medium) check_embeddings("media_embs", media_embs, s[1], s[4]);
    auto placed = contiguous(device, x);
    if (by_frame) placed = add(device, placed, parameter_with(frame_embs, x).slice(0, 0, s[2]).split(0, 1));
    if (by_medium)
      placed = add(device, placed, parameter_with(media_embs, x).slice(0, 0, s[1]).split(0, 1).split(0, 1));
    const auto tokens = view(placed).template reshape<3>({s[0] * s[1], s[2] * s[3], s[4]});

    auto z = repeat_for(device, latents, tokens);
    for (const Layer& part : layer) {
      z = add(device, z, part.attention.with({options.num_heads, options.eps}, device, tokens, z));
      const auto normed = layer_norm(device, z, part.ffn_norm.weight, part.ffn_norm.bias, options.eps);
      z = add(device, z, part.ffn(device, Gelu(), normed));
    }
    auto out = make_output<T, 4>(kName, {s[0], s[1], latents.dimension(0), s[4]}, x);
    layer_norm(device, z, norm.weight, norm.bias, options.eps, view(out).merge(0));
    return out;
  }

 private:
  static constexpr std::string_view kName = "perceiver_resampler";

  static void check_embeddings(std::string_view name, const Tensor<T, 2>& rows, Index count, Index channels) {
    require(rows.dimension(0) >= count && rows.dimension(1) == channels, kName, name,
            " must have shape (n, C) with n of ", count, " or more and C = ", channels, ", got ",
            shape_text(const_view(rows).sizes));
  }
};

}  // namespace heed::inline HEED_ISA
