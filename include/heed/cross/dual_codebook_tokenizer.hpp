// SPDX-License-Identifier: Apache-2.0
// dual_codebook_tokenizer: shallow features quantised for pixels, deep ones for semantics.
#pragma once

#include "heed/cross/attentional_projection.hpp"
#include "heed/cross/residual_vector_quantization.hpp"

namespace heed::inline HEED_ISA {

/// pixel = RVQ(pre_pixel(x_pixel)), semantic = post_semantic(RVQ(pre_semantic(x_semantic))): see
/// residual_vector_quantization and attentional_projection; the projections in front attend everywhere, the one behind
/// causally.
///
///   heed::DualCodebookTokenizer<float> tokenize({.num_heads = 8, .depth_pixel = 8, .depth_semantic = 4});
///   auto [pixel, pixel_codes, semantic, semantic_codes] = tokenize(early, late);
///
/// x_pixel and x_semantic (B, N, C), hidden states of an early and a late layer; pixel (B, N, E), semantic (B, N, C),
/// codes (B, N, depth) int32; pixel_codebook (depth_pixel, K, E), semantic_codebook (depth_semantic, K, E). Gradients
/// go straight through the codes. Throws heed::Error for shapes and options that do not fit. Time of the parts. The
/// same bits for any number of threads. Source: Song et al. 2025 (DualToken), the authors' encode_image.
template <Real T>
struct DualCodebookTokenizer {
  struct Options {
    Index num_heads = 1;
    Index depth_pixel = 1;
    Index depth_semantic = 1;
  };
  template <class Pixel, class Semantic>
  struct Result {
    Pixel pixel;
    Tensor<std::int32_t, 3> pixel_codes;
    Semantic semantic;
    Tensor<std::int32_t, 3> semantic_codes;
  };

  Options options;
  AttentionalProjection<T> pre_pixel, pre_semantic, post_semantic;
  ResidualVectorQuantization<T> quantize_pixel, quantize_semantic;

  explicit DualCodebookTokenizer(const Options& o = {}) : options(o) {
    pre_pixel.options = pre_semantic.options = {.num_heads = o.num_heads};
    post_semantic.options = {.num_heads = o.num_heads, .causal = true};
    quantize_pixel.options = {.depth = o.depth_pixel};
    quantize_semantic.options = {.depth = o.depth_semantic};
  }

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "pre_pixel.", pre_pixel, "pre_semantic.", pre_semantic, "post_semantic.", post_semantic);
    f("pixel_codebook", quantize_pixel.codebook);
    f("semantic_codebook", quantize_semantic.codebook);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& x_pixel, const Y& x_semantic) const {
    return (*this)(DeviceRef(), x_pixel, x_semantic);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& x_pixel, const Y& x_semantic) const {
    const auto shallow = parameter_with(x_pixel, x_semantic);
    const auto deep = parameter_with(x_semantic, x_pixel);
    auto pixel = quantize_pixel(device, pre_pixel(device, shallow));
    auto codes = quantize_semantic(device, pre_semantic(device, deep));
    auto semantic = post_semantic(device, codes.out);
    return Result<decltype(pixel.out), decltype(semantic)>{std::move(pixel.out), std::move(pixel.codes),
                                                           std::move(semantic), std::move(codes.codes)};
  }
};

}  // namespace heed::inline HEED_ISA
