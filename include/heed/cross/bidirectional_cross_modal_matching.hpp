// SPDX-License-Identifier: Apache-2.0
// bidirectional_cross_modal_matching: mention and entity, each fused over its text and image, and scored.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/maximum.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax_axis.hpp"

namespace heed::inline HEED_ISA {

/// Mention and entity as class vector c of one modality and tokens Z of the other, projected to F channels, with the
/// same weights:
///
/// 1. match(P, R) = ReLU(match(softmax(P match(R)^T) R)), the scores not scaled.
/// 2. pool(z) = the mean over num_heads temperatures t of head_scale (mean z + lam sum_j z_j softmax_j(t z_j)) in each
///    channel, the largest z in the place of the sum where t is infinite.
/// 3. fuse(c, Z) = norm(c tanh(gate(c)) + pool([match(c, Z) ; match(Z, c)])).
/// 4. score_text_image = fuse(text class, image tokens) of the mentions times that of the entities, transposed;
///    score_image_text with image class and text tokens.
///
///   heed::BidirectionalCrossModalMatching<float> match{{.num_heads = 5}};
///   auto [text_image, image_text] = match(entity, mention);  // each {text_cls, text_tokens, image_cls, image_tokens}
///
/// Classes (E, Ct), (E, Ci), tokens (E, Lt, Ct), (E, Li, Ci), of mentions with Q for E; scores (Q, E). text Ct to F,
/// image Ci to F, match F to F, gate F to 1, norm (F), head_scale (num_heads, 1). Each token that reads a single class
/// vector reads just that. Throws heed::Error for shapes and options that do not fit. Time O((E + Q) L F^2 + Q E F).
/// The same bits for any number of threads. Source: Hu et al. 2024 (M3EL), the authors' CrossModalMatchBidirection.
template <Real T>
struct BidirectionalCrossModalMatching {
  struct Options {
    Index num_heads = 5;  ///< 1 .. 8
    double lam = 1;
    double eps = 1e-5;  ///< of the norm
  };
  /// Both modalities of the mentions or of the entities.
  template <Operand C, Operand Z>
  struct Subject {
    C text_cls;
    Z text_tokens;
    C image_cls;
    Z image_tokens;
  };
  template <class Out>
  struct Result {
    Out score_text_image, score_image_text;
  };

  Options options = {};
  Linear<T> text = {}, image = {}, match = {}, gate = {};
  LayerNorm<T> norm = {};
  Tensor<T, 2> head_scale = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "text.", text, "image.", image, "match.", match, "gate.", gate, "norm.", norm);
    f("head_scale", head_scale);
  }

  /// The temperatures of a number of heads; infinity is the maximum.
  static std::vector<double> temperatures(Index heads) {
    constexpr double most = std::numeric_limits<double>::infinity();
    switch (heads) {
      case 1:
        return {3};
      case 2:
        return {3, most};
      case 3:
        return {2, 4, most};
      case 4:
        return {2, 3, 4, most};
      case 5:
        return {2, 2.5, 3.5, 4.5, most};
      case 6:
        return {2, 3, 4, 5, 6, most};
      case 7:
        return {0.5, 2.5, 3.5, 4.5, 5.5, 6.5, most};
      case 8:
        return {0.5, 2, 3, 4, 5, 6, 7, most};
      default:
        fail(kName, "num_heads must be in 1 .. 8, got ", heads);
    }
  }

  template <Operand C, Operand Z>
  auto operator()(const Subject<C, Z>& entity, const Subject<C, Z>& mention) const {
    return (*this)(DeviceRef(), entity, mention);
  }
  template <Device D, Operand C, Operand Z>
  auto operator()(const D& device, const Subject<C, Z>& entity, const Subject<C, Z>& mention) const {
    static_assert(kOperandRank<C> == 2 && kOperandRank<Z> == 3,
                  "heed::BidirectionalCrossModalMatching: classes are (E, C) and tokens (E, L, C)");
    check(entity);
    check(mention);
    const auto by_text = [&](const auto& s) {
      return fuse(device, text(device, s.text_cls), image(device, s.image_tokens));
    };
    const auto by_image = [&](const auto& s) {
      return fuse(device, image(device, s.image_cls), text(device, s.text_tokens));
    };
    const auto score = [&](const auto& mentions, const auto& entities) {
      return matmul(device, mentions, view(entities).permute({1, 0}));
    };
    auto text_image = score(by_text(mention), by_text(entity));
    auto image_text = score(by_image(mention), by_image(entity));
    return Result<decltype(text_image)>{std::move(text_image), std::move(image_text)};
  }

 private:
  static constexpr std::string_view kName = "bidirectional_cross_modal_matching";

  // c (E, F) and Z (E, L, F) to (E, F).
  template <class D, class C, class Z>
  auto fuse(const D& device, const C& c, const Z& tokens) const {
    const auto class_token = view(c).split(0, 1);  // (E, 1, F)
    const auto keys = match(device, tokens);
    const auto read = softmax_attention({.scale = 1})(device, split_heads(class_token, 1), split_heads(keys, 1),
                                                      split_heads(tokens, 1));
    const auto first = relu(device, match(device, view(read).select(1, 0)));
    const auto other = relu(device, match(device, class_token));
    const auto s = sizes_of(tokens);
    Tensor<T, 3> zeros(1, s[1], 1);
    zeros.setZero();
    const auto others = add(device, other, constant_with(std::move(zeros), c));
    const auto pooled = pool(device, concat<1>(device, first, others));
    const auto gated = multiply(device, c, tanh(device, gate(device, c)));
    return layer_norm(device, add(device, gated, view(pooled).select(1, 0)), norm.weight, norm.bias, options.eps);
  }

  // z (E, L, F) to (E, 1, F).
  template <class D, class Z>
  auto pool(const D& device, const Z& z) const {
    const auto plain = mean(device, z, {1});
    const auto scales = parameter_with(head_scale, z);
    const auto head = [&](Index h, double temperature) {
      const auto sharp = std::isinf(temperature)
                             ? max(device, z, {1})
                             : sum(device, multiply(device, z, softmax<1>(device, scale(device, z, temperature))), {1});
      const auto both = add(device, plain, scale(device, sharp, options.lam));
      return multiply(device, both, view(scales).slice(0, h, 1).split(0, 1));
    };
    const auto t = temperatures(options.num_heads);
    auto total = head(0, t[0]);
    for (Index h = 1; h < options.num_heads; ++h) total = add(device, total, head(h, t[std::size_t(h)]));
    return scale(device, total, 1 / double(options.num_heads));
  }

  template <class S>
  void check(const S& s) const {
    const auto cls = sizes_of(s.text_cls), picture = sizes_of(s.image_cls);
    const auto words = sizes_of(s.text_tokens), patches = sizes_of(s.image_tokens);
    const Index width = text.weight.dimension(0);
    require(picture[0] == cls[0] && words[0] == cls[0] && patches[0] == cls[0] && words[1] > 0 && patches[1] > 0, kName,
            "classes and tokens must be of the same subjects, with tokens, got shapes ", shape_text(cls), ", ",
            shape_text(words), ", ", shape_text(picture), " and ", shape_text(patches));
    require(words[2] == cls[1] && patches[2] == picture[1], kName, "tokens must have the channels of their class, got ",
            shape_text(words), " for ", shape_text(cls), " and ", shape_text(patches), " for ", shape_text(picture));
    check_linear(kName, "text", text, cls[1], width);
    check_linear(kName, "image", image, picture[1], width);
    check_linear(kName, "match", match, width, width);
    check_linear(kName, "gate", gate, width, 1);
    require_shape(kName, "head_scale", const_view(head_scale).sizes,
                  std::array<Index, 2>{Index(temperatures(options.num_heads).size()), 1});
  }
};

}  // namespace heed::inline HEED_ISA
