// SPDX-License-Identifier: Apache-2.0
// scene_magnifier_attention: causal attention in which some rows also see selected fine tokens.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/weights.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/rotary.hpp"
#include "heed/sparse/dense_token_select.hpp"

namespace heed::inline HEED_ISA {

/// base = causal attention with rotary positions; magnified = one softmax over the causal keys and the row's selected
/// fine keys, times their values. out = out.weight of (1 - alpha) base + alpha magnified for the rows from
/// magnify_start to magnify_end, of base for the others.
///
///   heed::SceneMagnifierAttention<float> attend{{.num_heads = 32, .scene_start = 40, .num_scene = 64}};
///   auto first = attend(x, magnify_start);                                     // no mask yet: base
///   auto next = attend(y, dense_features, first.next_select_mask, magnify_start, magnify_end);
///
/// x (B, N, C); dense_features (B, V E, C); select_mask (B, N, V E) of std::uint8_t, that of the layer below;
/// magnify_start and magnify_end (B) int32, both included; out (B, N, C); next_select_mask (B, N, V E) is
/// DenseTokenSelect of the weights of base, with the query_start magnify_start(0) for the whole batch. q.weight,
/// k.weight, v.weight, out.weight, dense.k.weight and dense.v.weight (C, C), no biases. Fine keys stand at the position
/// of their coarse token, scene_start + floor(index / E); values have no position. Nothing selected gives base. Throws
/// heed::Error for shapes and options that do not fit. Memory B N (N + V E) bytes for the mask and B H N^2 numbers for
/// the weights of the next selection. Source: Zhi et al. 2025 (LSceneLLM), Hoyyyaard/LSceneLLM, the class
/// LlamaAttention.
template <Real T>
struct SceneMagnifierAttention {
  struct Options {
    Index num_heads = 1;
    Index scene_start = 0;
    Index num_scene = 0;        ///< V
    Index dense_per_scene = 4;  ///< E
    double threshold = 96;      ///< 0 to 255
    double alpha = 1;           ///< in training it rises from 0
    double rope_base = 10000;
  };
  template <class X>
  struct Result {
    X out;
    Tensor<std::uint8_t, 3> next_select_mask;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {}, dense_k = {}, dense_v = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("out.weight", out.weight);
    f("dense.k.weight", dense_k.weight);
    f("dense.v.weight", dense_v.weight);
  }

  /// The first magnified layer: plain attention, and the mask for the next.
  template <Operand X, TensorLike S>
  auto operator()(const X& x, const S& magnify_start) const {
    return (*this)(DeviceRef(), x, magnify_start);
  }
  template <Device D, Operand X, TensorLike S>
  auto operator()(const D& device, const X& x, const S& magnify_start) const {
    check(sizes_of(x), const_view(magnify_start));
    const auto heads = project(device, x);
    const auto mixed = attend_heads(device, attention({}), heads.query, heads.key, split_heads(heads.value, count()));
    return finish(device, mixed, heads, const_view(magnify_start)(0));
  }
  template <Operand X, Operand F, TensorLike M, TensorLike S, TensorLike E>
  auto operator()(const X& x, const F& dense_features, const M& select_mask, const S& magnify_start,
                  const E& magnify_end) const {
    return (*this)(DeviceRef(), x, dense_features, select_mask, magnify_start, magnify_end);
  }
  template <Device D, Operand X, Operand F, TensorLike M, TensorLike S, TensorLike E>
  auto operator()(const D& device, const X& x_like, const F& fine_like, const M& select_mask, const S& magnify_start,
                  const E& magnify_end) const {
    const auto x = parameter_with(x_like, fine_like), fine = parameter_with(fine_like, x_like);
    const auto sizes = sizes_of(x);
    const View<const std::int32_t, 1> first = const_view(magnify_start), last = const_view(magnify_end);
    check(sizes, first);
    require_shape(kName, "magnify_end", last.sizes, first.sizes);
    const Index dense = options.num_scene * options.dense_per_scene;
    require_shape(kName, "dense_features", sizes_of(fine), std::array<Index, 3>{sizes[0], dense, sizes[2]});
    require_shape(kName, "select_mask", const_view(select_mask).sizes, std::array<Index, 3>{sizes[0], sizes[1], dense});

    const auto heads = project(device, x);
    const auto fine_keys = dense_k(device, fine), fine_values = dense_v(device, fine);
    Tensor<std::int32_t, 2> places(1, dense);
    for (Index j = 0; j < dense; ++j) places(0, j) = std::int32_t(options.scene_start + j / options.dense_per_scene);
    const auto fine_key = rotate(device, split_heads(fine_keys, count()), places, rotation(), kName);
    const auto keys = concat<2>(device, heads.key, fine_key);
    const auto values = concat<1>(device, heads.value, fine_values);
    const auto mask = packed_with(visible(const_view(select_mask), first, last), x);
    auto mixed =
        attend_heads(device, attention(const_view(mask).split(0, 1)), heads.query, keys, split_heads(values, count()));
    if (options.alpha != 1) {
      const auto base = attend_heads(device, attention({}), heads.query, heads.key, split_heads(heads.value, count()));
      mixed = add(device, scale(device, base, 1 - options.alpha), scale(device, mixed, options.alpha));
    }
    return finish(device, mixed, heads, first(0));
  }

 private:
  static constexpr std::string_view kName = "scene_magnifier_attention";

  template <class X, class H>
  struct Projected {
    H query, key;  // (B, H, N, D), rotated
    X value;       // (B, N, C)
  };

  Index count() const { return options.num_heads; }
  RotaryOptions rotation() const { return {.base = options.rope_base}; }

  template <Device D, Operand X>
  auto project(const D& device, const X& x) const {
    const Index n = sizes_of(x)[1];
    Tensor<std::int32_t, 2> places(1, n);
    for (Index i = 0; i < n; ++i) places(0, i) = std::int32_t(i);
    const auto turned = [&](const auto& y) {
      return rotate(device, split_heads(y, count()), places, rotation(), kName);
    };
    const auto queries = q(device, x), keys = k(device, x);
    auto query = turned(queries), key = turned(keys);
    auto value = v(device, x);
    return Projected<decltype(value), decltype(query)>{std::move(query), std::move(key), std::move(value)};
  }

  // One kernel for both: by the mask (B, 1, N, N + V E) where there is one, else causal.
  auto attention(const View<const std::uint8_t, 4>& mask) const {
    const bool given = mask.data != nullptr;
    return softmax_attention(when(given, boolean_mask(mask)) && when(!given, causal()));
  }

  // What a row sees of the own keys, and of the fine ones behind them.
  static Tensor<std::uint8_t, 3> visible(const View<const std::uint8_t, 3>& selected,
                                         const View<const std::int32_t, 1>& first,
                                         const View<const std::int32_t, 1>& last) {
    const Index n = selected.size(1), dense = selected.size(2);
    Tensor<std::uint8_t, 3> mask(selected.size(0), n, n + dense);
    for (Index b = 0; b < selected.size(0); ++b)
      for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) mask(b, i, j) = j <= i;
        const bool magnified = i >= first(b) && i <= last(b);
        for (Index j = 0; j < dense; ++j) mask(b, i, n + j) = magnified && selected(b, i, j) != 0;
      }
    return mask;
  }

  template <Device D, Operand X, class P>
  auto finish(const D& device, const X& mixed, const P& heads, Index query_start) const {
    const DenseTokenSelect select{
        {query_start, options.scene_start, options.num_scene, options.dense_per_scene, options.threshold}};
    const auto weights =
        attention_weights(device, softmax_attention(causal()), values_of(heads.query), values_of(heads.key));
    auto result = out(device, mixed);
    return Result<decltype(result)>{std::move(result), select(device, weights)};
  }

  void check(const std::array<Index, 3>& x, const View<const std::int32_t, 1>& first) const {
    const Index width = x[2];
    require(count() > 0 && width > 0 && width % count() == 0, kName, "C = ", width,
            " must be a multiple of num_heads = ", count());
    for (const auto* layer : {&q, &k, &v, &out, &dense_k, &dense_v})
      check_linear(kName, "a layer", *layer, width, width);
    require(x[0] > 0, kName, "x must have a batch, got shape ", shape_text(x));
    require_shape(kName, "magnify_start", first.sizes, std::array<Index, 1>{x[0]});
    require(options.scene_start >= 0 && options.num_scene >= 0 && options.scene_start + options.num_scene <= x[1],
            kName, options.num_scene, " scene tokens from ", options.scene_start, " on are not among the ", x[1],
            " tokens");
    require(options.dense_per_scene > 0, kName, "dense_per_scene must be 1 or more, got ", options.dense_per_scene);
  }
};

}  // namespace heed::inline HEED_ISA
