// SPDX-License-Identifier: Apache-2.0
// duo_attention: retrieval heads see everything, streaming heads only sinks and the recent past.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/blend.hpp"

namespace heed::inline HEED_ISA {

/// Causal, and for the heads whose gate is not above `threshold` nothing but the first `sinks` keys and the last
/// `recent`, the query's own among them. One rule for both kinds of heads: one kernel serves them, and each is skipped
/// by its own.
template <class U>
struct DuoHeads : VisibilityRuleBase {
  View<const U, 1> gate;  // (Hk)
  double threshold;
  And<Causal, Or<WindowLeft, SinkTokens>> streaming;

  DuoHeads(const View<const U, 1>& gate, double threshold, Index sinks, Index recent)
      : gate(gate),
        threshold(threshold),
        streaming(causal() && (WindowLeft{{}, std::min(recent - 1, detail::kFarthest)} || sink_tokens(sinks))) {}

  bool retrieves(Index kv_head) const { return simd::widen<double>(gate(kv_head)) > threshold; }
  void check(const AttentionShape& shape) const {
    require(gate.size(0) == shape.kv_heads, "duo_attention", "gate must have shape (Hk) = (", shape.kv_heads,
            "), got (", gate.size(0), ")");
  }
  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    return retrieves(at.kv_head) ? detail::test(causal(), at) : detail::test(streaming, at);
  }
  Run run(const QueryTile& tile, Index key) const {
    return retrieves(tile.kv_head) ? causal().run(tile, key) : streaming.run(tile, key);
  }
};

/// How the two kinds of attention go together.
enum class DuoMode {
  kBlend,  ///< clamp(gate, 0, 1) of the full one and the rest of the streaming one, to find out which heads need which
  kHard,   ///< the full one where gate > threshold, the streaming one elsewhere
};

/// out = a * full + (1 - a) * stream for each key/value head: full is causal attention, stream the same over the keys
/// j < sink_size or i - j < recent_size.
///
///   heed::DuoAttention<float> attend{{.sink_size = 64, .recent_size = 256}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q (B, H, N, D), k (B, Hk, N, D), v (B, Hk, N, Dv), gate (Hk), out (B, H, N, Dv); query head h belongs to key head
/// h * Hk / H. Queries are aligned with the last keys where k has more tokens. Blend: a = clamp(gate, 0, 1), gradients
/// through both branches (the training code stops those of the full one). Hard: a = 1 if gate > threshold else 0, each
/// head is computed once, and gate has no gradient.
///
/// Throws heed::Error for shapes and options that do not fit. Time of softmax_attention, of streaming heads
/// O(N (sink_size + recent_size)); blend takes both. The same bits for any number of threads. Source: Xiao et al. 2025,
/// "DuoAttention", section 2; inference has 64 sinks, training 128.
template <Real T>
struct DuoAttention {
  struct Options {
    DuoMode mode = DuoMode::kHard;
    Index sink_size = 64;     ///< first tokens
    Index recent_size = 256;  ///< last tokens, the query's own among them
    double threshold = 0.5;
  };

  Options options = {};
  Tensor<T, 1> gate = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("gate", gate);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::DuoAttention: q is (B, H, N, D), k (B, Hk, N, D) and v (B, Hk, N, Dv)");
    require(options.sink_size >= 0 && options.recent_size >= 0, kName,
            "sink_size and recent_size must be 0 or more, got ", options.sink_size, " and ", options.recent_size);
    require_shape(kName, "gate", const_view(gate).sizes, std::array<Index, 1>{sizes_of(k)[1]});
    const auto attend = [&](double threshold) {
      const DuoHeads<T> heads(const_view(gate), threshold, options.sink_size, options.recent_size);
      return softmax_attention(heads)(device, q, k, v);
    };
    if (options.mode == DuoMode::kHard) return attend(options.threshold);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    auto full = attend(-infinity);
    const auto stream = attend(infinity);
    // (B, Hk, H / Hk, N, Dv) by a weight for each key head.
    const Index kv_heads = sizes_of(k)[1], group = kv_heads > 0 ? sizes_of(q)[1] / kv_heads : 1;
    const auto clamped = clamp(device, parameter_with(gate, q, k, v), 0, 1);
    const auto weight = view(clamped).split(0, 1).split(1, 1).split(2, 1).template promote<5>();
    if constexpr (AnyRecorded<Q, K, V>) {
      return blend(device, weight, full.split(1, group), stream.split(1, group)).merge(1);
    } else {
      blend(device, weight, view(full).split(1, group), view(stream).split(1, group), view(full).split(1, group));
      return full;
    }
  }

 private:
  static constexpr std::string_view kName = "duo_attention";
};

}  // namespace heed::inline HEED_ISA
