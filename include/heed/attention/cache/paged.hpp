// SPDX-License-Identifier: Apache-2.0
// PagedCache: keys and values in pages that are assigned to sequences as they grow.
#pragma once

#include "heed/attention/cache/tokens.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/core/scratch.hpp"

namespace heed::inline HEED_ISA {

/// Keys (pages, Hk, page_size, D) and values (pages, Hk, page_size, Dv). Position z of sequence b is row z mod
/// page_size of page block_table(b, z / page_size); -1 in the table is a page not yet assigned. Whoever owns the cache
/// assigns pages, by writing into block_table; sequences may share pages that hold a common beginning, but a page is
/// written to by one sequence alone. Only rows below lengths[b] are ever read.
///
///   PagedCache<float> cache(pages, Hk, 64, D, D, B, max_blocks);
///   cache.block_table(0, 0) = 17;
///   append_and_attend(device, softmax_attention(), q, k_new, v_new, cache, into(out));
///
/// Source: Kwon et al. 2023 (PagedAttention). U and the members as in ContiguousCache.
///
/// No gradient: a cache is written in place. Whole sequences are for training: softmax_attention records.
template <Storage U>
struct PagedCache {
  using Scalar = U;
  static constexpr bool kEvicts = false;

  Tensor<U, 4> k, v;
  Tensor<std::int32_t, 2> block_table;  ///< (B, blocks per sequence at most)
  Tensor<std::int32_t, 1> lengths;      ///< (B) tokens so far

  PagedCache() = default;
  PagedCache(Index pages, Index kv_heads, Index page_size, Index width, Index value_width, Index batch,
             Index max_blocks)
      : k(pages, kv_heads, page_size, width),
        v(pages, kv_heads, page_size, value_width),
        block_table(batch, max_blocks),
        lengths(batch) {
    block_table.setConstant(-1);
    lengths.setZero();
  }
  PagedCache(Tensor<U, 4> k, Tensor<U, 4> v, Tensor<std::int32_t, 2> block_table, Tensor<std::int32_t, 1> lengths)
      : k(std::move(k)), v(std::move(v)), block_table(std::move(block_table)), lengths(std::move(lengths)) {}

  Index page_size() const { return k.dimension(2); }

  /// Appends k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv), of any strides and storage, to every sequence. Throws
  /// heed::Error and leaves the cache as it was for other shapes, where a page is not assigned or the table has no more
  /// blocks, and where two sequences would write to one page.
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
        [this](Index b, Index z) { return detail::CacheRow{block_table(b, z / page_size()), z % page_size()}; });
  }

  /// Throws as append would; writes nothing.
  template <class UK, class UV>
  void check_append(const View<const UK, 4>& k_new, const View<const UV, 4>& v_new) const {
    detail::check_tokens(check(), lengths, k_new, v_new, kName);
    const Index batch = lengths.size(), n = k_new.size(2);
    if (n == 0) return;
    Index count = 0;
    for (Index b = 0; b < batch; ++b) {
      check_pages(b, lengths(b) + n);
      count += (lengths(b) + n - 1) / page_size() - lengths(b) / page_size() + 1;
    }
    ScratchFrame frame;
    std::int32_t* written = frame.take<std::int32_t>(count);
    std::int32_t* end = written;
    for (Index b = 0; b < batch; ++b)
      for (Index block = lengths(b) / page_size(); block <= (lengths(b) + n - 1) / page_size(); ++block)
        *end++ = block_table(b, block);
    std::sort(written, end);
    const std::int32_t* twice = std::adjacent_find(written, end);
    require(twice == end, kName, "page ", twice == end ? 0 : *twice,
            " would be written to for two blocks of the block_table; give each a page of its own");
  }

  /// Throws unless the members fit together.
  detail::CacheSizes check() const {
    const detail::CacheSizes sizes =
        detail::check_store(k, v, block_table.dimension(0), lengths, "pages, Hk, page_size", kName);
    require(page_size() > 0, kName, "the page size must be 1 or more");
    for (Index b = 0; b < lengths.size(); ++b) check_pages(b, lengths(b));
    return sizes;
  }

  struct Source {
    using Key = U;
    using Value = U;
    View<const U, 4> k, v;
    View<const std::int32_t, 2> block_table;
    View<const std::int32_t, 1> lengths;
    Index count(Index b) const { return lengths(b); }
    RowRun<U> keys(Index b, Index head, Index key) const { return run(k, b, head, key); }
    RowRun<U> values(Index b, Index head, Index key) const { return run(v, b, head, key); }

   private:
    RowRun<U> run(const View<const U, 4>& pages, Index b, Index head, Index key) const {
      const Index rows = pages.size(2), row = key % rows;
      return {pages.at(block_table(b, key / rows), head, row), pages.stride(2), 1,
              std::min(rows - row, lengths(b) - key)};
    }
  };
  /// The keys by position, for the queries of the last tokens.
  Source source(Index /*queries*/, bool /*folded*/) const { return {k, v, block_table, lengths}; }

  /// Which keys of a source with `counts` keys per batch the queries of the last tokens see.
  auto rule(const View<const std::int32_t, 1>& counts) const { return key_lengths(counts) && causal(); }

  /// Throws if the keys that the queries of the last `queries` tokens see are no longer there: never.
  void check_attend(Index /*queries*/) const {}

 private:
  static constexpr std::string_view kName = "paged_cache";

  // The blocks of the first `count` positions must be there.
  void check_pages(Index b, Index count) const {
    const Index blocks = (count + page_size() - 1) / page_size();
    require(blocks <= block_table.dimension(1), kName, "batch ", b, " needs ", blocks, " blocks for ", count,
            " tokens, the block_table has ", block_table.dimension(1));
    for (Index block = 0; block < blocks; ++block)
      require(block_table(b, block) >= 0 && block_table(b, block) < k.dimension(0), kName, "block_table(", b, ", ",
              block, ") = ", block_table(b, block), block_table(b, block) == -1 ? " is not assigned" : " is no page",
              "; the cache has pages 0 .. ", k.dimension(0) - 1);
  }
};

}  // namespace heed::inline HEED_ISA
