// SPDX-License-Identifier: Apache-2.0
// ContiguousCache: keys and values of every sequence in one piece of fixed capacity.
#pragma once

#include "heed/attention/cache/tokens.hpp"
#include "heed/attention/mask/standard.hpp"

namespace heed::inline HEED_ISA {

/// Keys (B, Hk, S, D) and values (B, Hk, S, Dv) of up to S tokens per sequence; position z of a sequence is row z. Only
/// rows below lengths[b] are ever read. U: float, double, or bfloat16 and half (half the memory traffic, computed in
/// float); what is appended is rounded to it.
///
///   ContiguousCache<bfloat16> cache(B, Hk, 4096, D, D);
///   append_and_attend(device, softmax_attention(), q, k_new, v_new, cache, into(out));
///
/// The members may be set, moved in and read at will; every call checks that they fit together.
///
/// No gradient: a cache is written in place. Whole sequences are for training: softmax_attention records.
template <Storage U>
struct ContiguousCache {
  using Scalar = U;
  static constexpr bool kEvicts = false;

  Tensor<U, 4> k, v;
  Tensor<std::int32_t, 1> lengths;  ///< (B) tokens so far

  ContiguousCache() = default;
  ContiguousCache(Index batch, Index kv_heads, Index capacity, Index width, Index value_width)
      : k(batch, kv_heads, capacity, width), v(batch, kv_heads, capacity, value_width), lengths(batch) {
    lengths.setZero();
  }
  ContiguousCache(Tensor<U, 4> k, Tensor<U, 4> v, Tensor<std::int32_t, 1> lengths)
      : k(std::move(k)), v(std::move(v)), lengths(std::move(lengths)) {}

  /// Appends k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv), of any strides and storage, to every sequence. Throws
  /// heed::Error and leaves the cache as it was for other shapes, and where a sequence would not fit.
  template <TensorLike K, TensorLike V>
  void append(const K& k_new, const V& v_new) {
    append(Eigen::DefaultDevice(), k_new, v_new);
  }
  template <Device D, TensorLike K, TensorLike V>
  void append(const D& device, const K& k_new, const V& v_new) {
    const auto keys = const_view(k_new);
    const auto values = const_view(v_new);
    check_append(keys, values);
    detail::append_tokens(
        *this, device, keys, values, [](Index, Index) { return true; },
        [](Index b, Index z) { return detail::CacheRow{b, z}; });
  }

  /// Throws as append would; writes nothing.
  template <class UK, class UV>
  void check_append(const View<const UK, 4>& k_new, const View<const UV, 4>& v_new) const {
    detail::check_tokens(check(), lengths, k_new, v_new, kName);
    for (Index b = 0; b < lengths.size(); ++b)
      require(lengths(b) + k_new.size(2) <= k.dimension(2), kName, "batch ", b, " has ", lengths(b), " tokens, and ",
              k_new.size(2), " more do not fit into the capacity of ", k.dimension(2));
  }

  /// Throws unless the members fit together.
  detail::CacheSizes check() const {
    const detail::CacheSizes sizes = detail::check_store(k, v, k.dimension(0), lengths, "B, Hk, S", kName);
    for (Index b = 0; b < lengths.size(); ++b)
      require(lengths(b) <= k.dimension(2), kName, "lengths(", b, ") = ", lengths(b), " is beyond the capacity of ",
              k.dimension(2));
    return sizes;
  }

  struct Source {
    using Key = U;
    using Value = U;
    View<const U, 4> k, v;
    View<const std::int32_t, 1> lengths;
    Index count(Index b) const { return lengths(b); }
    RowRun<U> keys(Index b, Index head, Index key) const { return run(k, b, head, key); }
    RowRun<U> values(Index b, Index head, Index key) const { return run(v, b, head, key); }

   private:
    RowRun<U> run(const View<const U, 4>& rows, Index b, Index head, Index key) const {
      return {rows.at(b, head, key), rows.stride(2), 1, lengths(b) - key};
    }
  };
  /// The keys by position, for the queries of the last tokens.
  Source source(Index /*queries*/, bool /*folded*/) const { return {k, v, lengths}; }

  /// Which keys of a source with `counts` keys per batch the queries of the last tokens see.
  auto rule(const View<const std::int32_t, 1>& counts) const { return key_lengths(counts) && causal(); }

  /// Throws if the keys that the queries of the last `queries` tokens see are no longer there: never.
  void check_attend(Index /*queries*/) const {}

 private:
  static constexpr std::string_view kName = "contiguous_cache";
};

}  // namespace heed::inline HEED_ISA
