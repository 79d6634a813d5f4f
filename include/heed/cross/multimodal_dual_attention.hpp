// SPDX-License-Identifier: Apache-2.0
// multimodal_dual_attention: one softmax over the image, one over the text, added.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/key_class.hpp"
#include "heed/attention/mask/key_ranges.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/positions.hpp"
#include "heed/block/rotate_heads.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(P V)), P = softmax of s over the image keys + softmax of s over the text keys, s = Q K^T / sqrt(D):
/// each is normalised on its own, so that text cannot drown the image.
///
///   heed::MultimodalDualAttention<float> attend{{.num_heads = 32, .num_kv_heads = 8}};
///   auto y = attend(x, modality);                           // or attend(device, x, modality)
///
/// x and out (B, N, C); modality (B, N) int32, 0 padding, 1 text, 2 image. Text keys are seen up to the query's
/// position. Image keys: all of the item with visual_full; otherwise by image tokens themselves alone, by others up to
/// their position. A branch that has no key adds nothing; padding asks like text and is never a key. q.weight (H D, C),
/// k.weight and v.weight (G D, C), out.weight (C, H D), no bias; head h reads key head floor(h G / H). With rope_base
/// above 0, Q and K are rotated by positions 0 .. N - 1, halves against each other. Each branch reads its own keys
/// alone: the time of one dense attention where runs of a modality are long; no N x N memory. Throws heed::Error for
/// shapes and options that do not fit. The same bits for any number of threads. Source: Zhao et al. 2025 (LACING),
/// section 4.1; rows without a key, which the authors' code averages over what they must not see, are 0.
template <Real T>
struct MultimodalDualAttention {
  struct Options {
    Index num_heads = 1;
    Index num_kv_heads = 0;  ///< 0: num_heads
    bool visual_full = true;
    double rope_base = 10000;  ///< 0: no rotation
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("out.weight", out.weight);
  }

  template <Operand X, TensorLike M>
  auto operator()(const X& x, const M& modality) const {
    return (*this)(DeviceRef(), x, modality);
  }
  template <Device D, Operand X, TensorLike M>
  auto operator()(const D& device, const X& x, const M& modality) const {
    static_assert(kOperandRank<X> == 3 && kRankOf<M> == 2,
                  "heed::MultimodalDualAttention: x is (B, N, C), modality (B, N)");
    const auto s = sizes_of(x);
    require_shape(kName, "modality", const_view(modality).sizes, std::array<Index, 2>{s[0], s[1]});
    const Index heads = options.num_heads, groups = options.num_kv_heads == 0 ? heads : options.num_kv_heads;
    auto queries = q(device, x);
    auto keys = k(device, x);
    const auto values = v(device, x);
    if (options.rope_base != 0) {
      const auto positions = position_range(0, s[1]);
      const RotaryOptions rotary{.base = options.rope_base};
      queries = rotate_heads(device, queries, heads, positions, rotary, kName);
      keys = rotate_heads(device, keys, groups, positions, rotary, kName);
    }
    const auto classes = packed_with(modality, x);
    const auto bounds = packed_with(ranges(const_view(modality)), x);
    const auto branch = [&](std::int32_t wanted, Index first) {
      const auto bound = [&](Index i) { return view(bounds).select(0, i).split(0, 1); };
      const auto rule = key_class(classes, wanted) && key_ranges(bound(first), bound(first + 1));
      return attend_heads(device, softmax_attention(rule), heads, queries, keys, values, groups);
    };
    return out(device, add(device, branch(kImage, 0), branch(kText, 2)));
  }

 private:
  static constexpr std::string_view kName = "multimodal_dual_attention";
  static constexpr std::int32_t kText = 1, kImage = 2;

  // Of each query, the interval of image keys and that of text keys, (4, B, N).
  Tensor<std::int32_t, 3> ranges(const View<const std::int32_t, 2>& modality) const {
    const Index tokens = modality.size(1);
    Tensor<std::int32_t, 3> bounds(4, modality.size(0), tokens);
    for (Index b = 0; b < modality.size(0); ++b)
      for (Index i = 0; i < tokens; ++i) {
        const bool alone = !options.visual_full && modality(b, i) == kImage;
        bounds(0, b, i) = std::int32_t(alone ? i : 0);
        bounds(1, b, i) = std::int32_t(options.visual_full ? tokens : i + 1);
        bounds(2, b, i) = 0;
        bounds(3, b, i) = std::int32_t(i + 1);
      }
    return bounds;
  }
};

}  // namespace heed::inline HEED_ISA
