// SPDX-License-Identifier: Apache-2.0
// RingCache: the first few tokens and a sliding window, in memory that does not grow.
#pragma once

#include "heed/attention/cache/tokens.hpp"
#include "heed/attention/mask/standard.hpp"

namespace heed::inline HEED_ISA {

/// Keys (B, Hk, sink_tokens + window_size, D) and values (B, Hk, sink_tokens + window_size, Dv). Position z is row z
/// where z < sink_tokens, and else row sink_tokens + (z - sink_tokens) mod window_size: a new token takes the place of
/// the one window_size before it. A query at position x sees positions z <= x with z < sink_tokens or
/// z > x - window_size. lengths[b] counts all tokens seen and goes beyond the capacity; rows never written are never
/// read.
///
///   RingCache<float> cache(B, Hk, D, D, {.sink_tokens = 4, .window_size = 1020});
///   append_and_attend(device, softmax_attention(), q, k_new, v_new, cache, into(out));
///
/// append_and_attend takes any number of tokens at once: the old rows are read before the new ones take their places.
/// Source: Xiao et al. 2024 (StreamingLLM), section 3.2. U and the members as in ContiguousCache.
///
/// No gradient: a cache is written in place. Whole sequences are for training: softmax_attention records.
template <Storage U>
struct RingCache {
  using Scalar = U;
  static constexpr bool kEvicts = true;

  struct Options {
    Index sink_tokens = 0;  ///< first tokens that stay for ever, 0 or more
    Index window_size = 0;  ///< latest tokens that are kept, the newest among them, 1 or more
  };

  Tensor<U, 4> k, v;
  Tensor<std::int32_t, 1> lengths;  ///< (B) tokens so far
  Options options = {};

  RingCache() = default;
  RingCache(Index batch, Index kv_heads, Index width, Index value_width, Options options)
      : k(batch, kv_heads, options.sink_tokens + options.window_size, width),
        v(batch, kv_heads, options.sink_tokens + options.window_size, value_width),
        lengths(batch),
        options(options) {
    lengths.setZero();
  }
  RingCache(Tensor<U, 4> k, Tensor<U, 4> v, Tensor<std::int32_t, 1> lengths, Options options)
      : k(std::move(k)), v(std::move(v)), lengths(std::move(lengths)), options(options) {}

  /// Appends k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv), of any strides and storage, to every sequence. Throws
  /// heed::Error and leaves the cache as it was for other shapes.
  template <TensorLike K, TensorLike V>
  void append(const K& k_new, const V& v_new) {
    append(Eigen::DefaultDevice(), k_new, v_new);
  }
  template <Device D, TensorLike K, TensorLike V>
  void append(const D& device, const K& k_new, const V& v_new) {
    const auto keys = const_view(k_new);
    const auto values = const_view(v_new);
    check_append(keys, values);
    const Index n = keys.size(2), sinks = options.sink_tokens, window = options.window_size;
    const auto stays = [&](Index b, Index t) { return lengths(b) + t < sinks || t >= n - window; };
    detail::append_tokens(*this, device, keys, values, stays, [&](Index b, Index z) {
      return detail::CacheRow{b, z < sinks ? z : sinks + (z - sinks) % window};
    });
  }

  /// Throws as append would; writes nothing.
  template <class UK, class UV>
  void check_append(const View<const UK, 4>& k_new, const View<const UV, 4>& v_new) const {
    detail::check_tokens(check(), lengths, k_new, v_new, kName);
  }

  /// Throws unless the members fit together.
  detail::CacheSizes check() const {
    require(options.sink_tokens >= 0, kName, "sink_tokens must be 0 or more, got ", options.sink_tokens);
    require(options.window_size >= 1, kName, "window_size must be 1 or more, got ", options.window_size);
    const detail::CacheSizes sizes =
        detail::check_store(k, v, k.dimension(0), lengths, "B, Hk, sink_tokens + window_size", kName);
    require(k.dimension(2) == options.sink_tokens + options.window_size, kName,
            "k must have shape (B, Hk, sink_tokens + window_size, D) with ", options.sink_tokens, " + ",
            options.window_size, " rows, got ", shape_text(k.dimensions()));
    return sizes;
  }

  /// What the queries from some position on see of the ring, and of the tokens behind it that are not written yet. The
  /// axis of keys is that of positions; or `folded`, with the positions between the sinks and the first key that any of
  /// the queries sees left out, so that it stays short however long the stream. Between sinks and window distances are
  /// then too small, which only a score or rule that depends on positions can tell.
  struct Source {
    using Key = U;
    using Value = U;
    View<const U, 4> k, v;
    View<const U, 4> k_new, v_new;  // tokens from lengths[b] on; of size 0 when all are written
    View<const std::int32_t, 1> lengths;
    Options options;
    Index written = 0;  // queries whose own tokens are in the ring already
    bool folded = false;

    Index shift(Index b) const {
      const Index first_seen = lengths(b) - written - options.window_size + 1;
      return folded ? std::max<Index>(0, first_seen - options.sink_tokens) : 0;
    }
    /// Keys on the axis of batch b.
    Index count(Index b) const { return lengths(b) + k_new.size(2) - shift(b); }

    RowRun<U> keys(Index b, Index head, Index key) const { return run(k, k_new, b, head, key); }
    RowRun<U> values(Index b, Index head, Index key) const { return run(v, v_new, b, head, key); }

   private:
    RowRun<U> run(const View<const U, 4>& ring, const View<const U, 4>& fresh, Index b, Index head, Index key) const {
      const Index sinks = options.sink_tokens, window = options.window_size, have = lengths(b);
      const Index z = key < sinks ? key : key + shift(b);
      if (z >= have) return {fresh.at(b, head, z - have), fresh.stride(2), fresh.stride(3), fresh.size(2) - (z - have)};
      if (z < sinks) return {ring.at(b, head, z), ring.stride(2), 1, std::min(sinks, have) - z};
      const Index turn = (z - sinks) % window;
      return {ring.at(b, head, sinks + turn), ring.stride(2), 1, std::min(window - turn, have - z)};
    }
  };
  /// The keys for the queries of the last `queries` tokens, all written.
  Source source(Index queries, bool folded) const { return {k, v, {}, {}, lengths, options, queries, folded}; }
  /// Throws if the keys that the queries of the last `queries` tokens see are no longer there.
  void check_attend(Index queries) const {
    for (Index b = 0; b < lengths.size(); ++b)
      require(queries <= 1 || lengths(b) <= k.dimension(2), kName, "the keys that the first of ", queries,
              " queries sees have been overwritten in batch ", b, "; append_and_attend reads them before");
  }
  /// The keys for the queries of tokens that are yet to be written.
  Source source(const View<const U, 4>& k_new, const View<const U, 4>& v_new, bool folded) const {
    return {k, v, k_new, v_new, lengths, options, 0, folded};
  }

  /// What `rows`, k or v, holds of each sequence, oldest first: (B, Hk, T, width) with T = min(length, capacity), which
  /// must be the same for all sequences.
  Tensor<U, 4> in_order(const Tensor<U, 4>& rows) const {
    const Index batch = rows.dimension(0), sinks = options.sink_tokens, window = options.window_size;
    const Index length = batch > 0 ? lengths(0) : 0, count = std::min<Index>(length, rows.dimension(2));
    for (Index b = 0; b < batch; ++b)
      require(lengths(b) == length, kName, "in_order needs sequences of one length, got ", length, " and ", lengths(b));
    Tensor<U, 4> ordered(batch, rows.dimension(1), count, rows.dimension(3));
    for (Index b = 0; b < batch; ++b)
      for (Index h = 0; h < rows.dimension(1); ++h)
        for (Index r = 0; r < count; ++r) {
          const Index z = r < sinks ? r : length - count + r, row = z < sinks ? z : sinks + (z - sinks) % window;
          for (Index d = 0; d < rows.dimension(3); ++d) ordered(b, h, r, d) = rows(b, h, row, d);
        }
    return ordered;
  }

  /// Which keys of a source with `counts` keys per batch the queries of the last tokens see.
  auto rule(const View<const std::int32_t, 1>& counts) const {
    return key_lengths(counts) && causal() &&
           (window_left(options.window_size - 1) || sink_tokens(options.sink_tokens));
  }

 private:
  static constexpr std::string_view kName = "ring_cache";
};

}  // namespace heed::inline HEED_ISA
