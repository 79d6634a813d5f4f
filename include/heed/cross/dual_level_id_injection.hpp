// SPDX-License-Identifier: Apache-2.0
// dual_level_id_injection: identity features in the text's class word, and as tokens of their own.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"
#include "heed/cross/key_value_projection.hpp"

namespace heed::inline HEED_ISA {

/// text_fused is text with its word at word_index replaced by global_mlp([cls_1, .., cls_E, that word]); id_tokens[p] =
/// local_mlp([patch_1[p], .., patch_E[p]]); y = x + id(norm(x), id_tokens), out = y + text(norm(y), text_fused), two
/// cross-attentions in series, each with its own norm; the networks have gelu.
///
///   heed::DualLevelIdInjection<float> inject{{.num_heads = 8}};
///   auto result = inject(x, text, cls_tokens, patch_tokens, word_index);
///
/// x (B, N, C), text (B, M, Ct), cls_tokens (B, E, Ce), patch_tokens (B, E, P, Ce) of E image encoders, word_index (B)
/// int32; out (B, N, C), text_fused (B, M, Ct), id_tokens (B, P, Ct). global_mlp: E Ce + Ct to Ct, local_mlp: E Ce to
/// Ct; id and text: norm (C), q: C to C, k and v: Ct to C, out: C to C, no bias. Throws heed::Error for a word that is
/// not there, and shapes that do not fit. O(B N (P + M) C) for the attentions. The same bits for any number of threads.
/// Source: Kong et al. 2024 (AnyMaker); transcription of the method figure: widths, gelu, norms and biases are our
/// reading. Its decoupling by masks is part of the training alone and is not here.
template <Real T>
struct DualLevelIdInjection {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-5;
  };
  template <class Out>
  struct Result {
    Out out, text_fused, id_tokens;
  };
  struct Attention {
    LayerNorm<T> norm = {};
    Linear<T> q = {}, out = {};
    KeyValueProjection<T> source = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "norm.", norm, "q.", q, "", source, "out.", out);
    }
  };

  Options options = {};
  Mlp<T> global_mlp = {}, local_mlp = {};
  Attention id = {}, text = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "global_mlp.", global_mlp, "local_mlp.", local_mlp, "id.", id, "text.", text);
  }

  template <Operand X, Operand Y, Operand C, Operand P, TensorLike I>
  auto operator()(const X& x, const Y& words, const C& cls_tokens, const P& patch_tokens, const I& word_index) const {
    return (*this)(DeviceRef(), x, words, cls_tokens, patch_tokens, word_index);
  }
  template <Device D, Operand X, Operand Y, Operand C, Operand P, TensorLike I>
  auto operator()(const D& device, const X& x, const Y& words_like, const C& cls_tokens, const P& patches_like,
                  const I& word_index) const {
    const auto words = parameter_with(words_like, x, cls_tokens, patches_like);
    const auto patch_tokens = parameter_with(patches_like, words);
    static_assert(
        kOperandRank<X> == 3 && kOperandRank<Y> == 3 && kOperandRank<C> == 3 && kOperandRank<P> == 4 && kRankOf<I> == 1,
        "heed::DualLevelIdInjection: x, text and cls_tokens have three axes, patch_tokens four");
    const View<const std::int32_t, 1> at = const_view(word_index);
    check(sizes_of(x), sizes_of(words), sizes_of(cls_tokens), at);

    const auto word = gather(device, words, at.split(0, 1));
    const auto encoders = contiguous(device, cls_tokens);
    const auto known =
        concat<2>(device, view(encoders).merge(1).split(1, sizes_of(encoders)[1] * sizes_of(encoders)[2]), word);
    const auto fused_word = global_mlp(device, Gelu(), known);
    const auto with_word = concat<1>(device, words, fused_word);
    auto text_fused = gather(device, with_word, replaced(sizes_of(words), at));

    const auto patches = contiguous(device, view(patch_tokens).permute({0, 2, 1, 3}));
    auto id_tokens = local_mlp(device, Gelu(), view(patches).merge(2));

    const auto named = read(device, id, x, id_tokens);
    auto result = read(device, text, named, text_fused);
    return Result<decltype(result)>{std::move(result), std::move(text_fused), std::move(id_tokens)};
  }

 private:
  static constexpr std::string_view kName = "dual_level_id_injection";

  template <class D, Operand X, Operand Y>
  auto read(const D& device, const Attention& part, const X& x, const Y& source) const {
    const auto normed = layer_norm(device, x, part.norm.weight, part.norm.bias, options.eps);
    const auto mixed = part.source.read(device, options.num_heads, part.q(device, normed), source);
    return add(device, x, part.out(device, mixed));
  }

  // Every row as it is, but the word from behind the last.
  static Tensor<std::int32_t, 2> replaced(const std::array<Index, 3>& words, const View<const std::int32_t, 1>& at) {
    Tensor<std::int32_t, 2> rows(words[0], words[1]);
    for (Index b = 0; b < words[0]; ++b) {
      for (Index j = 0; j < words[1]; ++j) rows(b, j) = std::int32_t(j);
      rows(b, at(b)) = std::int32_t(words[1]);
    }
    return rows;
  }

  static void check(const std::array<Index, 3>& x, const std::array<Index, 3>& words, const std::array<Index, 3>& cls,
                    const View<const std::int32_t, 1>& at) {
    require(words[0] == x[0] && cls[0] == x[0] && at.size(0) == x[0], kName,
            "text, cls_tokens and word_index must have batch size B = ", x[0], ", got ", words[0], ", ", cls[0],
            " and ", at.size(0));
    for (Index b = 0; b < at.size(0); ++b)
      require(at(b) >= 0 && at(b) < words[1], kName, "word_index(", b, ") = ", at(b), " is outside of 0 .. ",
              words[1] - 1);
  }
};

}  // namespace heed::inline HEED_ISA
