// SPDX-License-Identifier: Apache-2.0
// KvCacheAttention: incremental decoding over a key/value cache.
#pragma once

#include "heed/attention/cache/attend.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// Appends the keys and values of N new tokens to a cache and attends to it, as if token by token: query t, at position
/// x = lengths[b] + t, sees positions 0 .. x of a ContiguousCache or PagedCache, and of a RingCache those with
/// z < sink_tokens or z > x - window_size.
///
///   PagedCache<bfloat16> cache(pages, Hk, 64, D, Dv, B, blocks);       // or ContiguousCache, RingCache
///   KvCacheAttention decode{{.softcap = 50}};
///   auto out = decode(q, k_new, v_new, cache);                         // q (B, H, N, D), out (B, H, N, Dv)
///   decode(device, q, k_new, v_new, cache, into(out, lse));
///
/// k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv) are rounded to the cache's storage; H is a multiple of Hk. Options:
/// scale, none for 1 / sqrt(D); softcap, 0 (off) or positive; rope_base, 0 (off) or positive: the keys are stored
/// unrotated, and the visible ones, in the order of their positions, are rotated to 0, 1, .. n-1 and the query to n-1
/// (half-split pairs), so that a stream never leaves the positions of the training; N = 1 and an even D only, at the
/// cost of a rotated copy of the visible keys. For any other score or visibility rule use append_and_attend(). Throws
/// heed::Error, with the cache and the outputs as they were, for a full cache, a page not assigned, options out of
/// range and shapes that do not fit. Memory never written is never read. Time O(visible keys * (D + Dv)) per token; no
/// allocation after the first call of a shape; the same bits for any device.
/// Source: the conventions of FlashAttention's cache calls; Kwon et al. 2023 (PagedAttention); Xiao et al. 2024
/// (StreamingLLM), section 3.2, for the ring and its positions.
///
/// No gradient: a cache is written in place. Whole sequences are for training: softmax_attention records.
struct KvCacheAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;
    double softcap = 0;
    double rope_base = 0;
  };
  Options options = {};

  template <TensorLike Q, TensorLike K, TensorLike V, KeyValueCache C>
  auto operator()(const Q& q, const K& k_new, const V& v_new, C& cache) const {
    return (*this)(Eigen::DefaultDevice(), q, k_new, v_new, cache);
  }
  template <Device D, TensorLike Q, TensorLike K, TensorLike V, KeyValueCache C>
  auto operator()(const D& device, const Q& q, const K& k_new, const V& v_new, C& cache) const {
    const auto queries = const_view(q);
    Tensor<ScalarOf<Q>, 4> out(queries.size(0), queries.size(1), queries.size(2), const_view(v_new).size(3));
    (*this)(device, q, k_new, v_new, cache, into(out));
    return out;
  }

  template <Device D, TensorLike Q, TensorLike K, TensorLike V, KeyValueCache C, class UO, class L>
  void operator()(const D& device, const Q& q, const K& k_new, const V& v_new, C& cache,
                  const Into<UO, 4, L>& target) const {
    static_assert(kRankOf<Q> == 4 && kRankOf<K> == 4 && kRankOf<V> == 4,
                  "heed: q, k_new and v_new must have shape (B, heads, N, D)");
    require(std::isfinite(options.softcap) && options.softcap >= 0, kName,
            "softcap must be 0 (off) or positive and finite, got ", options.softcap);
    require(std::isfinite(options.rope_base) && options.rope_base >= 0, kName,
            "rope_base must be 0 (off) or positive and finite, got ", options.rope_base);
    const auto attention =
        softmax_attention(when(options.softcap > 0, Softcap{{}, options.softcap}), SoftmaxOptions{options.scale});
    if (options.rope_base > 0) {
      in_cache_positions(device, attention, const_view(q), const_view(k_new), const_view(v_new), cache, target);
    } else {
      detail::append_and_attend(device, attention, const_view(q), const_view(k_new), const_view(v_new), cache, target,
                                kName);
    }
  }

 private:
  static constexpr std::string_view kName = "kv_cache_attention";

  // Rotated keys beside the values of the cache.
  template <class T, class Cached>
  struct RotatedSource {
    using Key = T;
    using Value = typename Cached::Value;
    View<const T, 4> k;
    Cached cached;
    RowRun<T> keys(Index b, Index head, Index key) const {
      return {k.at(b, head, key), k.stride(2), 1, k.size(2) - key};
    }
    RowRun<Value> values(Index b, Index head, Index key) const { return cached.values(b, head, key); }
  };

  template <class D, class Attention, class UQ, class UK, class UV, class C, class UO, class L>
  void in_cache_positions(const D& device, const Attention& attention, const View<const UQ, 4>& q,
                          const View<const UK, 4>& k_new, const View<const UV, 4>& v_new, C& cache,
                          const Into<UO, 4, L>& target) const {
    using T = Compute<UQ>;
    cache.check_append(k_new, v_new);
    require(q.size(2) == 1 && k_new.size(2) == 1, kName, "with rope_base > 0 q and k_new must have N = 1, got ",
            q.size(2), " and ", k_new.size(2));
    detail::check_cached(cache, attention, q, 1, target, kName);
    const Index width = q.size(3);
    const RotaryFrequencies frequencies({.base = options.rope_base}, width, 0, kName);
    cache.append(device, k_new, v_new);

    const auto source = cache.source(1, true);
    const Index batch = q.size(0), heads = k_new.size(1);
    ScratchFrame frame;
    std::int32_t* last = frame.take<std::int32_t>(batch);
    std::int32_t* counts = frame.take<std::int32_t>(batch);
    Index keys = 0;
    for (Index b = 0; b < batch; ++b) {
      counts[b] = std::int32_t(source.count(b));
      last[b] = counts[b] - 1;
      keys = std::max<Index>(keys, counts[b]);
    }
    const detail::RotaryScratch<T> table(frame, keys, frequencies.pairs());
    detail::fill_rotary_ranks(device, frequencies, keys, table.cos, table.sin);
    const detail::RotaryRows<T> angles{table.cos, table.sin, frequencies.pairs()};

    const View<T, 4> queries(frame.take<T>(q.count()), q.sizes);
    detail::rotate_rows(
        device, q, angles, [&](Index b, Index) { return Index(last[b]); }, false, false, queries);
    const View<T, 4> rotated(frame.take<T>(batch * heads * keys * width), {batch, heads, keys, width});
    constexpr Index kChunk = 64;
    const Index chunks = (keys + kChunk - 1) / kChunk;
    parallel_for(device, batch * heads * chunks, [&](Index unit) {
      const Index b = unit / chunks / heads, h = unit / chunks % heads, first = unit % chunks * kChunk;
      const Index end = std::min<Index>(counts[b], first + kChunk);
      for (Index key = first; key < end;) {
        const auto run = source.keys(b, h, key);
        const Index stop = std::min(end, key + run.count);
        for (Index j = key; j < stop; ++j)
          detail::rotate_row<T>(run.data + (j - key) * run.stride, run.inner, width, angles, j, false, T(1),
                                rotated.at(b, h, j), 1);
        key = stop;
      }
    });
    const auto seen = key_lengths(View<const std::int32_t, 1>(counts, {batch}));
    SoftmaxAttention<std::remove_cvref_t<decltype(attention.score)>, KeyLengths>{attention.score, seen,
                                                                                 attention.options}
        .from(device, queries, RotatedSource<T, std::remove_const_t<decltype(source)>>{rotated, source}, heads, keys,
              cache.v.dimension(3), target);
  }
};

}  // namespace heed::inline HEED_ISA
