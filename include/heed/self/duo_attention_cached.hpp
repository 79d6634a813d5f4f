// SPDX-License-Identifier: Apache-2.0
// duo_attention_cached: DuoAttention over its two stores, for prefill and decoding.
#pragma once

#include "heed/attention/cache/attend.hpp"

namespace heed::inline HEED_ISA {

/// The two stores: all tokens of the retrieval heads, and of the streaming heads the first sink_size and the last
/// recent_size. `stream` does not grow however long the sequence; stream.in_order(stream.k) is its content, oldest
/// first.
template <Storage U>
struct DuoCache {
  ContiguousCache<U> full;
  RingCache<U> stream;
};

/// What streaming heads see of the first tokens of a sequence.
enum class DuoPrefill {
  kDense,      ///< all before them, as the released code does
  kStreaming,  ///< what DuoAttention shows them: the sinks and the last recent_size
};

/// One step of DuoAttention: appends k_new and v_new, then attends with q, the queries of the same tokens.
///
///   heed::DuoAttentionCached attend{{.num_full_heads = 4, .sink_size = 64, .recent_size = 256}};
///   auto cache = attend.cache<float>(B, Hk, 4096, D, Dv);   // room for 4096 tokens in the retrieval heads
///   auto out = attend(q, k_new, v_new, cache);              // or attend(device, q, k_new, v_new, cache)
///
/// q (B, H, N, D), k_new (B, Hk, N, D), v_new (B, Hk, N, Dv) of any storage and strides; out (B, H, N, Dv) in q's type.
/// The first num_full_heads key heads, 0 .. Hk, are retrieval heads; query head h belongs to key head h * Hk / H.
/// Rotary embedding is applied before, at true positions. Each query sees the store of its head and the new tokens up
/// to its own: a streaming head up to sink_size + recent_size cached tokens, and with its own one more than the mask of
/// DuoAttention. The first call, of empty stores, has no cached tokens; its streaming heads see what `prefill` says.
/// Afterwards a streaming store keeps its first sink_size and last recent_size tokens.
///
/// Throws heed::Error, before anything has changed, for shapes and options that do not fit and tokens beyond the
/// capacity. Time O(N (T + N)) for a retrieval head and O(N (sink_size + recent_size + N)) for a streaming one. Not
/// differentiated. Source: Xiao et al. 2025, "DuoAttention", section 2.3, and the authors' reordered forward.
struct DuoAttentionCached {
  struct Options {
    Index num_full_heads = 0;
    Index sink_size = 64;     ///< tokens, 0 or more
    Index recent_size = 256;  ///< tokens, 1 or more
    DuoPrefill prefill = DuoPrefill::kDense;
  };
  Options options = {};

  template <Storage U>
  DuoCache<U> cache(Index batch, Index kv_heads, Index capacity, Index width, Index value_width) const {
    check(kv_heads);
    const Index full = options.num_full_heads;
    return {ContiguousCache<U>(batch, full, capacity, width, value_width),
            RingCache<U>(batch, kv_heads - full, width, value_width,
                         {.sink_tokens = options.sink_size, .window_size = options.recent_size})};
  }

  template <TensorLike Q, TensorLike K, TensorLike V, Storage U>
  auto operator()(const Q& q, const K& k_new, const V& v_new, DuoCache<U>& cache) const {
    return (*this)(DeviceRef(), q, k_new, v_new, cache);
  }
  template <Device D, TensorLike Q, TensorLike K, TensorLike V, Storage U>
  auto operator()(const D& device, const Q& q, const K& k_new, const V& v_new, DuoCache<U>& cache) const {
    const auto sizes = const_view(q).sizes;
    Tensor<ScalarOf<Q>, 4> out(sizes[0], sizes[1], sizes[2], const_view(v_new).size(3));
    (*this)(device, q, k_new, v_new, cache, out);
    return out;
  }
  /// Into the caller's memory.
  template <Device D, TensorLike Q, TensorLike K, TensorLike V, Storage U, TensorLike O>
  void operator()(const D& device, const Q& query, const K& key, const V& value, DuoCache<U>& cache, O&& target) const {
    static_assert(kRankOf<Q> == 4 && kRankOf<K> == 4 && kRankOf<V> == 4,
                  "heed::DuoAttentionCached: q, k_new and v_new are (B, H, N, D), (B, Hk, N, D) and (B, Hk, N, Dv)");
    const auto q = const_view(query);
    const auto k = const_view(key);
    const auto v = const_view(value);
    const auto out = view(target);
    const Index kv_heads = k.size(1), full = options.num_full_heads, streaming = kv_heads - full;
    check(kv_heads);
    require(cache.full.k.dimension(1) == full && cache.stream.k.dimension(1) == streaming, kName,
            "the stores must have ", full, " and ", streaming, " heads, got ", cache.full.k.dimension(1), " and ",
            cache.stream.k.dimension(1));
    require(cache.stream.options.sink_tokens == options.sink_size &&
                cache.stream.options.window_size == options.recent_size,
            kName, "the streaming store must be for ", options.sink_size, " sinks and ", options.recent_size,
            " recent tokens, got ", cache.stream.options.sink_tokens, " and ", cache.stream.options.window_size);
    require(q.size(0) == k.size(0) && q.size(2) == k.size(2) && q.size(3) == k.size(3) && kv_heads > 0 &&
                q.size(1) % kv_heads == 0,
            kName, "q must have shape (B, H, N, D) = (", k.size(0), ", a multiple of ", kv_heads, ", ", k.size(2), ", ",
            k.size(3), "), got ", shape_text(q.sizes));
    require_shape(kName, "out", out.sizes, std::array<Index, 4>{q.size(0), q.size(1), q.size(2), v.size(3)});
    cache.full.check_append(k.slice(1, 0, full), v.slice(1, 0, full));
    cache.stream.check_append(k.slice(1, full, streaming), v.slice(1, full, streaming));

    const Index group = q.size(1) / kv_heads;
    if (full > 0) {
      append_and_attend(device, softmax_attention(), q.slice(1, 0, full * group), k.slice(1, 0, full),
                        v.slice(1, 0, full), cache.full, into(out.slice(1, 0, full * group)));
    } else {
      cache.full.append(device, k.slice(1, 0, 0), v.slice(1, 0, 0));
    }
    if (streaming > 0)
      stream(device, q.slice(1, full * group, streaming * group), k.slice(1, full, streaming),
             v.slice(1, full, streaming), cache.stream, out.slice(1, full * group, streaming * group));
    cache.stream.append(device, k.slice(1, full, streaming), v.slice(1, full, streaming));
  }

 private:
  static constexpr std::string_view kName = "duo_attention_cached";

  template <class D, class UQ, class UK, class UV, Storage U, class UO>
  void stream(const D& device, const View<const UQ, 4>& q, const View<const UK, 4>& k, const View<const UV, 4>& v,
              const RingCache<U>& store, const View<UO, 4>& out) const {
    ScratchFrame frame;
    // The new rows as they will be stored.
    const auto stored = [&]<class From>(const View<const From, 4>& rows) {
      if constexpr (std::same_as<From, U>) {
        return rows;
      } else {
        const View<U, 4> rounded(frame.take<U>(rows.count()), rows.sizes);
        detail::write_tensor(device, rows, rounded);
        return View<const U, 4>(rounded);
      }
    };
    // All that is stored, the oldest of the recent ones among it, and behind it the new ones.
    const typename RingCache<U>::Source source{store.k,       store.v,       stored(k), stored(v),
                                               store.lengths, store.options, 1,         true};
    std::int32_t* const counts = frame.take<std::int32_t>(q.size(0));
    Index most = 0;
    bool fresh = true;
    for (Index b = 0; b < q.size(0); ++b) {
      counts[b] = std::int32_t(source.count(b));
      most = std::max<Index>(most, counts[b]);
      fresh = fresh && store.lengths(b) == 0;
    }
    const auto rule = key_lengths(View<const std::int32_t, 1>(counts, {q.size(0)})) && causal() &&
                      when(fresh && options.prefill == DuoPrefill::kStreaming,
                           window_left(options.recent_size - 1) || sink_tokens(options.sink_size));
    softmax_attention(rule).from(device, q, source, k.size(1), most, v.size(3), into(out));
  }

  void check(Index kv_heads) const {
    require(options.num_full_heads >= 0 && options.num_full_heads <= kv_heads, kName,
            "num_full_heads must be in 0 .. Hk = ", kv_heads, ", got ", options.num_full_heads);
    require(options.sink_size >= 0 && options.recent_size >= 1, kName,
            "sink_size must be 0 or more and recent_size 1 or more, got ", options.sink_size, " and ",
            options.recent_size);
  }
};

}  // namespace heed::inline HEED_ISA
