// SPDX-License-Identifier: Apache-2.0
// multi_scale_cross_modal_interaction: image and words read each other through windows of three sizes.
#pragma once

#include <array>
#include <cmath>
#include <string>

#include "heed/attention/score/standard.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/group_norm.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// Each position reads the words and each word the positions, by a convex sum of three attentions that share their
/// values and differ in the window that a query is made of. With IN the norm over the tokens of each channel:
///
/// 1. visual_out = IN(out(sum_n softmax(visual_mix)_n A(IN(visual{n}.q2(window)), visual{n}.k(text) m, v(text) m))) for
/// n
///    = 1, 3, 5: the window is the n x n neighbourhood, zeros outside, of IN(visual{n}.q(visual)): a convolution.
/// 2. text_out = out_text(sum_n softmax(text_mix)_n A(text{n}.q2(window) m, IN(text{n}.k(visual)),
/// IN(v_visual(visual))))
///    for n = 1, 2, 3: the window is words t - floor(n / 2) .. t + floor((n - 1) / 2), the ends repeated, of
///    text{n}.q(text).
///
/// visual (B, h h, Cv), text (B, T, Cl), text_mask m (B, T) uint8; visual_out (B, N, Vc), text_out (B, T, Cl). Scores
/// are divided by sqrt(K), K the keys' width of the visual side; padded words are lowered by 1e4, so that a text of
/// padding alone is averaged. visual{n}.q Cv to K / d with d = 1, 2, 4, q2 (K / d) n^2 to K, channels first; text{n}.q
/// Cl to floor(K / n), q2 floor(K / n) n to Cl. With one visible word IN makes zeros of visual_out. Throws heed::Error
/// for shapes that do not fit. Time O(3 N T (K + Cl)) and of the windows. The same bits for any number of threads.
/// Source: Hu et al. 2023 (DMMI), the authors' SpatialImageInteraction.
template <Real T>
struct MultiScaleCrossModalInteraction {
  static constexpr std::array<Index, 3> kVisualWindows{1, 3, 5}, kTextWindows{1, 2, 3};
  static constexpr double kEps = 1e-5;  ///< of the norms over tokens

  struct Scale {
    Linear<T> q = {}, q2 = {}, k = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "q2.", q2, "k.", k);
    }
  };
  template <class Visual, class Text>
  struct Result {
    Visual visual_out;
    Text text_out;
  };

  std::array<Scale, 3> visual = {}, text = {};
  Linear<T> v = {}, v_visual = {}, out = {}, out_text = {};
  Tensor<T, 1> visual_mix = {}, text_mix = {};

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < 3; ++i) visit_part("visual" + std::to_string(kVisualWindows[i]) + ".", visual[i], f);
    for (std::size_t i = 0; i < 3; ++i) visit_part("text" + std::to_string(kTextWindows[i]) + ".", text[i], f);
    visit_parts(f, "v.", v, "v_visual.", v_visual, "out.", out, "out_text.", out_text);
    f("visual_mix", visual_mix);
    f("text_mix", text_mix);
  }

  template <Operand X, Operand Y, TensorLike M>
  auto operator()(const X& image, const Y& words, const M& text_mask) const {
    return (*this)(DeviceRef(), image, words, text_mask);
  }
  template <Device D, Operand X, Operand Y, TensorLike M>
  auto operator()(const D& device, const X& image_like, const Y& words_like, const M& text_mask) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::MultiScaleCrossModalInteraction: visual is (B, N, Cv) and text (B, T, Cl)");
    check(sizes_of(image_like), sizes_of(words_like), const_view(text_mask).sizes);
    const auto image = parameter_with(image_like, words_like);
    const auto words = parameter_with(words_like, image_like);
    const auto shown = constant_with(as_numbers(text_mask, 1, 0), image, words);
    const auto lowered = constant_with(as_numbers(text_mask, 1e4, -1e4), image, words);
    const SoftmaxOptions scaled{.scale = 1 / std::sqrt(double(visual[0].k.weight.dimension(0)))};

    const auto to_words = softmax_attention(bias(view(lowered).permute({0, 2, 1}).split(1, 1)), scaled);
    const auto word_values = multiply(device, v(device, words), shown);
    const auto read_words = mix(device, visual_mix, [&](std::size_t i) {
      const auto queries = neighbourhoods(device, visual[i], kVisualWindows[i], image);
      const auto keys = multiply(device, visual[i].k(device, words), shown);
      return one_head(device, to_words, queries, keys, word_values);
    });
    auto visual_out = over_tokens(device, out(device, read_words));

    const auto image_values = over_tokens(device, v_visual(device, image));
    const auto read_image = mix(device, text_mix, [&](std::size_t i) {
      const auto queries = multiply(device, phrases(device, text[i], kTextWindows[i], words), shown);
      const auto keys = over_tokens(device, text[i].k(device, image));
      return one_head(device, softmax_attention(scaled), queries, keys, image_values);
    });
    auto text_out = out_text(device, read_image);
    return Result<decltype(visual_out), decltype(text_out)>{std::move(visual_out), std::move(text_out)};
  }

  /// Throws heed::Error unless inputs of these shapes fit.
  void check(const std::array<Index, 3>& image, const std::array<Index, 3>& words,
             const std::array<Index, 2>& mask) const {
    const Index side = std::llround(std::sqrt(double(image[1]))), width = visual[0].k.weight.dimension(0);
    require(side * side == image[1] && side > 0, kName, "visual must hold a square of positions, got shape ",
            shape_text(image));
    require(words[0] == image[0] && words[1] > 0, kName, "text must have shape (B, T, Cl) with B = ", image[0],
            ", got ", shape_text(words));
    require_shape(kName, "text_mask", mask, std::array<Index, 2>{words[0], words[1]});
    require(width >= 4 && width % 4 == 0, kName, "the width of the keys, ", width, ", must be a multiple of 4");
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string at = "visual" + std::to_string(kVisualWindows[i]) + ".";
      const std::string in = "text" + std::to_string(kTextWindows[i]) + ".";
      const Index part = width >> i, phrase = width / kTextWindows[i];
      check_linear(kName, at + "q", visual[i].q, image[2], part);
      check_linear(kName, at + "q2", visual[i].q2, part * kVisualWindows[i] * kVisualWindows[i], width);
      check_linear(kName, at + "k", visual[i].k, words[2], width);
      check_linear(kName, in + "q", text[i].q, words[2], phrase);
      check_linear(kName, in + "q2", text[i].q2, phrase * kTextWindows[i], words[2]);
      check_linear(kName, in + "k", text[i].k, image[2], words[2]);
    }
    const Index values = v.weight.dimension(0);
    check_linear(kName, "v", v, words[2], values);
    check_linear(kName, "v_visual", v_visual, image[2], words[2]);
    check_linear(kName, "out", out, values, values);
    check_linear(kName, "out_text", out_text, words[2], words[2]);
    require(visual_mix.size() == 3 && text_mix.size() == 3, kName, "visual_mix and text_mix must have shape (3), got (",
            visual_mix.size(), ") and (", text_mix.size(), ")");
  }

 private:
  static constexpr std::string_view kName = "multi_scale_cross_modal_interaction";

  // slope * mask + shift, (B, T, 1).
  template <class M>
  static Tensor<T, 3> as_numbers(const M& mask, double slope, double shift) {
    const auto from = const_view(mask);
    Tensor<T, 3> result(from.size(0), from.size(1), 1);
    for (Index b = 0; b < from.size(0); ++b)
      for (Index t = 0; t < from.size(1); ++t) result(b, t, 0) = T((from(b, t) != 0 ? slope : 0) + shift);
    return result;
  }

  // Channels over the tokens of x (B, N, C) to mean 0 and variance 1.
  template <class D, class X>
  static auto over_tokens(const D& device, const X& x) {
    const Tensor<T, 1> none;
    const auto normal = group_norm(device, view(x).permute({0, 2, 1}), sizes_of(x)[2], none, none, kEps);
    return contiguous(device, view(normal).permute({0, 2, 1}));
  }

  // One head of (B, N, K), (B, M, K) and (B, M, C).
  template <class D, class A, class Q, class K, class V>
  static auto one_head(const D& device, const A& attend, const Q& q, const K& k, const V& values) {
    const auto mixed = attend(device, split_heads(q, 1), split_heads(k, 1), split_heads(values, 1));
    return contiguous(device, view(mixed).select(1, 0));
  }

  template <class D, class X>
  static auto neighbourhoods(const D& device, const Scale& by, Index window, const X& image) {
    const Index side = std::llround(std::sqrt(double(sizes_of(image)[1])));
    const auto narrow = over_tokens(device, by.q(device, image));
    const auto map = view(narrow).split(1, side).permute({0, 3, 1, 2});
    const auto weight = parameter_with(by.q2.weight, image);
    const auto kernel = view(weight).split(1, window * window).split(2, window);
    const Index reach = window / 2;
    const auto wide = conv_2d(device, map, kernel, by.q2.bias, ConvOptions{.padding = {reach, reach}});
    return over_tokens(device, view(wide).merge(2).permute({0, 2, 1}));
  }

  template <class D, class X>
  static auto phrases(const D& device, const Scale& by, Index window, const X& words) {
    const auto s = sizes_of(words);
    Tensor<std::int32_t, 2> at(s[0], s[1] * window);
    for (Index b = 0; b < s[0]; ++b)
      for (Index t = 0; t < s[1]; ++t)
        for (Index i = 0; i < window; ++i)
          at(b, t * window + i) = std::int32_t(std::clamp<Index>(t - window / 2 + i, 0, s[1] - 1));
    const auto near = gather(device, by.q(device, words), at);
    const auto channels_first = contiguous(device, view(near).split(1, window).permute({0, 1, 3, 2}));
    return by.q2(device, view(channels_first).merge(2));
  }

  // sum over i of softmax(logits)_i f(i).
  template <class D, class F>
  static auto mix(const D& device, const Tensor<T, 1>& logits, const F& f) {
    const auto first = f(0);
    const auto shares = softmax(device, parameter_with(logits, first));
    const auto share = [&](Index i) { return view(shares).slice(0, i, 1).template promote<3>(); };
    const auto two = add(device, multiply(device, first, share(0)), multiply(device, f(1), share(1)));
    return add(device, two, multiply(device, f(2), share(2)));
  }
};

}  // namespace heed::inline HEED_ISA
