// SPDX-License-Identifier: Apache-2.0
// token_coordinated_prompt_attention: the class token and the image tokens read different, matched prompts.
#pragma once

#include "heed/attention/weights.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/fourier.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/selection.hpp"

namespace heed::inline HEED_ISA {

/// Self-attention of a class token and N image tokens, the only queries, over themselves and all prompts, whose weights
/// are then set to 0, without normalising again, for the prompts that a token does not read: the class token reads
/// class prompts, image tokens image prompts, and with kMatched only the entries whose keys are most like the token.
///
/// x (B, 1 + N, C), class token first, before the block's norm; out (B, 1 + N, C), to be added to x; match_loss (1),
/// the mean over (B, top_k_cls) of 1 - cosine of the class token and a chosen key plus the mean over (B, N,
/// top_k_image) of the same for image tokens; empty (0) with kRole. keys_cls (Pc, C), prompts_cls (Pc, lc, C),
/// keys_image (Pi, C), prompts_image (Pi, li, C); norm.weight, norm.bias (C), eps 1e-6; qkv.weight (3 C, C), qkv.bias,
/// out.weight (C, C), out.bias. With `fourier` (the released model) the rows of all prompts, class first, are replaced
/// by the real part of their two-dimensional Fourier transform, not scaled. Cosines are of x as given; the choice has
/// no gradient, the loss has. top_k is clamped to the entries. Throws heed::Error for shapes and options that do not
/// fit. Time and memory of dense weights, (1 + N) (1 + N + Pc lc + Pi li). Source: Liu et al. 2025 (TCPA),
/// zhoujiahuan1991/ICML2025-TCPA; without its scale and shift of prompts and its image-level prompter.
template <Real T>
struct TokenCoordinatedPromptAttention {
  enum class MaskMode { kMatched, kRole };
  struct Options {
    Index num_heads = 1;
    Index top_k_cls = 3;
    Index top_k_image = 3;
    MaskMode mask_mode = MaskMode::kMatched;
    bool fourier = true;
  };
  template <class X, class L>
  struct Result {
    X out;
    L match_loss;
  };

  Options options = {};
  Tensor<T, 2> keys_cls = {};
  Tensor<T, 3> prompts_cls = {};
  Tensor<T, 2> keys_image = {};
  Tensor<T, 3> prompts_image = {};
  LayerNorm<T> norm = {{}, {}, 1e-6};
  Linear<T> qkv = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("keys_cls", keys_cls);
    f("prompts_cls", prompts_cls);
    f("keys_image", keys_image);
    f("prompts_image", prompts_image);
    visit_parts(f, "norm.", norm, "qkv.", qkv, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::TokenCoordinatedPromptAttention: x is (B, 1 + N, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index width = sizes[2], tokens = sizes[1], heads = options.num_heads;
    const Index of_cls = rows(prompts_cls), of_image = rows(prompts_image);

    const auto cls_rows = parameter_with(prompts_cls, x).template reshape<2>({of_cls, width});
    const auto image_rows = parameter_with(prompts_image, x).template reshape<2>({of_image, width});
    auto prompts = concat<0>(device, cls_rows, image_rows);
    if (options.fourier) prompts = real_fourier_2d(device, prompts);
    // The order of the keys does not matter: tokens, then prompts.
    const auto normed = norm(device, x);
    const auto normed_prompts = norm(device, prompts);
    const auto all = concat<1>(device, normed, view(normed_prompts).template promote<3>());
    const auto weight = parameter_with(qkv.weight, x);
    const auto bias = parameter_with(qkv.bias, x);
    const auto project = [&](const auto& input, Index part) {
      return linear(device, input, weight.slice(0, part * width, width),
                    sizes_of(bias)[0] > 0 ? bias.slice(0, part * width, width) : bias);
    };
    const auto queries = project(normed, 0), keys = project(all, 1), values = project(all, 2);
    const auto weights =
        attention_weights(device, softmax_attention(), split_heads(queries, heads), split_heads(keys, heads));

    const auto tokens_unit = l2_normalize(device, x);
    const auto cosines = [&](const Tensor<T, 2>& key, Index first, Index count) {
      const auto unit = l2_normalize(device, parameter_with(key, x));
      return matmul(device, view(tokens_unit).slice(1, first, count),
                    view(unit).template promote<3>().permute({0, 2, 1}));
    };
    const auto like_cls = cosines(keys_cls, 0, 1), like_image = cosines(keys_image, 1, tokens - 1);
    const auto chosen_cls = chosen(device, like_cls, options.top_k_cls);
    const auto chosen_image = chosen(device, like_image, options.top_k_image);
    const auto read = masked_fill(device, weights, reads(chosen_cls, chosen_image, tokens), 0);

    const auto mixed = matmul(device, read, split_heads(values, heads));
    auto result = out(device, copy_as<3>(device, view(mixed).permute({0, 2, 1, 3}), sizes));
    auto loss = copy_as<1>(device,
                           add(device, mean_distance(device, like_cls, chosen_cls, options.top_k_cls),
                               mean_distance(device, like_image, chosen_image, options.top_k_image)),
                           {1});
    if (options.mask_mode == MaskMode::kRole) loss = decltype(loss)();
    return Result<decltype(result), decltype(loss)>{std::move(result), std::move(loss)};
  }

 private:
  static constexpr std::string_view kName = "token_coordinated_prompt_attention";

  static Index rows(const Tensor<T, 3>& prompts) { return prompts.dimension(0) * prompts.dimension(1); }

  // (B, tokens, entries): 1 where a token reads an entry.
  template <Device D, Operand X>
  Tensor<std::uint8_t, 3> chosen(const D& device, const X& cosines, Index k) const {
    return largest_mask(device, cosines, options.mask_mode == MaskMode::kRole ? sizes_of(cosines)[2] : k);
  }

  // The mean of 1 - cosine over what was chosen, of shape (1, 1, 1).
  template <Device D, Operand X>
  static auto mean_distance(const D& device, const X& cosines, const Tensor<std::uint8_t, 3>& chosen, Index k) {
    const auto sizes = sizes_of(cosines);
    Tensor<T, 3> ones(1, 1, 1);
    ones.setConstant(T(1));
    const auto one = constant_with(std::move(ones), cosines);
    const auto distances = masked_fill(device, subtract(device, one, cosines), chosen, 0);
    const double count = double(sizes[0] * sizes[1] * std::min(k, sizes[2]));
    return sum(device, distances, {0, 1, 2}, 1 / std::max(1.0, count));
  }

  // (B, 1, 1 + N, S): all tokens, and every row of the entries that are read.
  Tensor<std::uint8_t, 4> reads(const Tensor<std::uint8_t, 3>& of_cls, const Tensor<std::uint8_t, 3>& of_image,
                                Index tokens) const {
    const Index cls = rows(prompts_cls), image = rows(prompts_image);
    Tensor<std::uint8_t, 4> mask(of_cls.dimension(0), 1, tokens, tokens + cls + image);
    mask.setZero();
    for (Index b = 0; b < of_cls.dimension(0); ++b)
      for (Index i = 0; i < tokens; ++i) {
        for (Index j = 0; j < tokens; ++j) mask(b, 0, i, j) = 1;
        if (i == 0) {
          for (Index j = 0; j < cls; ++j) mask(b, 0, i, tokens + j) = of_cls(b, 0, j / prompts_cls.dimension(1));
        } else {
          for (Index j = 0; j < image; ++j)
            mask(b, 0, i, tokens + cls + j) = of_image(b, i - 1, j / prompts_image.dimension(1));
        }
      }
    return mask;
  }

  void check(const std::array<Index, 3>& x) const {
    const Index width = x[2];
    require(x[1] > 0, kName, "x must have a class token, got shape ", shape_text(x));
    require(options.num_heads > 0 && width > 0 && width % options.num_heads == 0, kName, "C = ", width,
            " must be a multiple of num_heads = ", options.num_heads);
    require(options.top_k_cls > 0 && options.top_k_image > 0, kName,
            "top_k_cls and top_k_image must be 1 or more, got ", options.top_k_cls, " and ", options.top_k_image);
    const auto check_entries = [&](std::string_view name, const Tensor<T, 2>& keys, const Tensor<T, 3>& prompts) {
      require(keys.dimension(0) > 0 && keys.dimension(1) == width, kName, "keys_", name,
              " must have shape (entries, C) with C = ", width, ", got ", shape_text(const_view(keys).sizes));
      require(prompts.dimension(0) == keys.dimension(0) && prompts.dimension(2) == width, kName, "prompts_", name,
              " must have shape (", keys.dimension(0), ", length, ", width, "), got ",
              shape_text(const_view(prompts).sizes));
    };
    check_entries("cls", keys_cls, prompts_cls);
    check_entries("image", keys_image, prompts_image);
    check_linear(kName, "qkv", qkv, width, 3 * width);
    check_linear(kName, "out", out, width, width);
  }
};

}  // namespace heed::inline HEED_ISA
