// SPDX-License-Identifier: Apache-2.0
// interaction_two_stream_encoder: transformer layers over joined image and text, then over each alone.
#pragma once

#include <string>
#include <vector>

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/projected_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// [image ; text] through the joint layers, then the text part through the text layers and the image part through the
/// image layers. A layer is z = norm1(x + attention(x, x)) over the visible keys, norm2(z + ffn(z)) (GELU).
///
///   heed::InteractionTwoStreamEncoder<float> encode({.num_heads = 12, .num_image_heads = 8, .num_joint_layers = 3});
///   auto [image, text] = encode(image, text, image_mask, text_mask);
///
/// image (B, Ni, C), text (B, Nt, C), masks (B, Ni) and (B, Nt) uint8, 1 where a token is visible; outputs as the
/// inputs. joint{l}, text{l} and image{l}: q, k, v, out C to C, ffn C to F to C, biases optional. What a mask hides is
/// computed too, as a query. Throws heed::Error for shapes and options that do not fit. Time of the layers, each
/// quadratic in its tokens. The same bits for any number of threads. Source: Lin et al. 2020 (InterBERT), the authors'
/// InterBertEncoder.
template <Real T>
struct InteractionTwoStreamEncoder {
  struct Options {
    Index num_heads = 1;        ///< of the joint and text layers
    Index num_image_heads = 1;  ///< of the image layers
    Index num_joint_layers = 0;
    Index num_text_layers = 0;
    Index num_image_layers = 0;
    double eps = 1e-12;  ///< of the norms
  };
  struct Layer {
    ProjectedAttention<T> attention = {};
    LayerNorm<T> norm1 = {}, norm2 = {};
    Mlp<T> ffn = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", attention, "norm1.", norm1, "norm2.", norm2, "ffn.", ffn);
    }
  };
  template <class Image, class Text>
  struct Result {
    Image image_out;
    Text text_out;
  };

  Options options;
  std::vector<Layer> joint, text, image;

  explicit InteractionTwoStreamEncoder(const Options& o = {}) : options(o) {
    require(o.num_joint_layers >= 0 && o.num_text_layers >= 0 && o.num_image_layers >= 0, kName,
            "the numbers of layers must be 0 or more, got ", o.num_joint_layers, ", ", o.num_text_layers, " and ",
            o.num_image_layers);
    joint.resize(std::size_t(o.num_joint_layers));
    text.resize(std::size_t(o.num_text_layers));
    image.resize(std::size_t(o.num_image_layers));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    const auto visit = [&](const std::string& name, std::vector<Layer>& layers) {
      for (std::size_t l = 0; l < layers.size(); ++l) visit_part(name + std::to_string(l) + ".", layers[l], f);
    };
    visit("joint", joint);
    visit("text", text);
    visit("image", image);
  }

  template <Operand X, Operand Y, TensorLike MX, TensorLike MY>
  auto operator()(const X& images, const Y& texts, const MX& image_mask, const MY& text_mask) const {
    return (*this)(DeviceRef(), images, texts, image_mask, text_mask);
  }
  template <Device D, Operand X, Operand Y, TensorLike MX, TensorLike MY>
  auto operator()(const D& device, const X& images, const Y& texts, const MX& image_mask, const MY& text_mask) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::InteractionTwoStreamEncoder: image and text are (B, tokens, C)");
    const auto s = sizes_of(images), t = sizes_of(texts);
    require(t[0] == s[0] && t[2] == s[2], kName, "text must have shape (B, Nt, C) with B = ", s[0], " and C = ", s[2],
            ", got ", shape_text(t));
    require_shape(kName, "image_mask", const_view(image_mask).sizes, std::array<Index, 2>{s[0], s[1]});
    require_shape(kName, "text_mask", const_view(text_mask).sizes, std::array<Index, 2>{t[0], t[1]});
    check("joint", joint, s[2], options.num_heads);
    check("text", text, s[2], options.num_heads);
    check("image", image, s[2], options.num_image_heads);

    const auto mask = packed_with(joined_mask(image_mask, text_mask), images, texts);
    const auto both = through(device, joint, options.num_heads, concat<1>(device, images, texts), mask);
    auto image_out = through(device, image, options.num_image_heads, contiguous(device, view(both).slice(1, 0, s[1])),
                             const_view(image_mask));
    auto text_out = through(device, text, options.num_heads, contiguous(device, view(both).slice(1, s[1], t[1])),
                            const_view(text_mask));
    return Result<decltype(image_out), decltype(text_out)>{std::move(image_out), std::move(text_out)};
  }

 private:
  static constexpr std::string_view kName = "interaction_two_stream_encoder";

  template <class D, class X, class M>
  X through(const D& device, const std::vector<Layer>& layers, Index heads, X x, const M& mask) const {
    for (const Layer& layer : layers) {
      const auto mixed = layer.attention(device, softmax_attention(key_mask(mask)), heads, x, x, x);
      const auto z = layer_norm(device, add(device, x, mixed), layer.norm1.weight, layer.norm1.bias, options.eps);
      x = layer_norm(device, add(device, z, layer.ffn(device, Gelu(), z)), layer.norm2.weight, layer.norm2.bias,
                     options.eps);
    }
    return x;
  }

  static void check(const std::string& name, const std::vector<Layer>& layers, Index channels, Index heads) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const std::string prefix = name + std::to_string(l) + ".";
      layers[l].attention.check(kName, prefix, channels, channels, heads);
      check_mlp(kName, prefix + "ffn", layers[l].ffn, channels, channels);
    }
  }
};

}  // namespace heed::inline HEED_ISA
