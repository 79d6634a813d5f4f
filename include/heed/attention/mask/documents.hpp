// SPDX-License-Identifier: Apache-2.0
// Visibility between documents that lie one after the other in one sequence, and the masks that are made of it.
#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "heed/attention/mask/standard.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Where the document of each token begins and ends.
struct DocumentTable {
  std::vector<std::int32_t> begin, end;

  Index tokens() const { return Index(begin.size()); }
  Index begin_of(Index token) const { return begin[std::size_t(token)]; }
  Index end_of(Index token) const { return end[std::size_t(token)]; }

  void check(const AttentionShape& shape, std::string_view where) const {
    require(shape.queries == tokens() && shape.keys == tokens(), where, "the lengths sum to ", tokens(),
            ", which must be N and M, got N = ", shape.queries, " and M = ", shape.keys);
  }
};

template <class Lengths>
std::shared_ptr<const DocumentTable> document_table(const Lengths& lengths, std::string_view where) {
  DocumentTable table;
  Index document = 0;
  const auto add = [&](Index length) {
    const Index begin = table.tokens();
    require(length > 0, where, "lengths must be positive, got ", length, " for document ", document);
    require(length <= std::numeric_limits<std::int32_t>::max() - begin, where,
            "the lengths must sum to less than 2^31");
    table.begin.resize(std::size_t(begin + length), std::int32_t(begin));
    table.end.resize(std::size_t(begin + length), std::int32_t(begin + length));
    ++document;
  };
  if constexpr (TensorLike<Lengths>) {
    const auto values = const_view(lengths);
    static_assert(decltype(values)::rank == 1, "heed: document lengths have one axis");
    for (Index x = 0; x < values.size(0); ++x) add(Index(values(x)));
  } else {
    for (const auto length : lengths) add(Index(length));
  }
  return std::make_shared<const DocumentTable>(std::move(table));
}

// Keys [some_begin, some_end) are seen by some queries of a tile, [all_begin, all_end) within by all, the rest by none.
inline Run run_between(Index key, Index some_begin, Index all_begin, Index all_end, Index some_end) {
  if (key < some_begin) return {Seen::kNone, some_begin};
  if (key >= some_end) return {Seen::kNone, kEndless};
  if (all_begin < all_end) {
    if (key < all_begin) return {Seen::kSome, all_begin};
    if (key < all_end) return {Seen::kAll, all_end};
  }
  return {Seen::kSome, some_end};
}

}  // namespace detail

/// Queries see the keys of their own document.
struct Documents : VisibilityRuleBase {
  std::shared_ptr<const detail::DocumentTable> table;

  void check(const AttentionShape& shape) const { table->check(shape, "documents"); }
  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    // One side of the pair is the same in all lanes; its document is an interval for the other side.
    const Index token = L == Lanes::kQueries ? at.first_key : at.first_query;
    const auto other = L == Lanes::kQueries ? at.query() : at.key();
    return other >= detail::lane_value(at, table->begin_of(token)) &&
           other < detail::lane_value(at, table->end_of(token));
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_between(key, table->begin_of(tile.first), table->begin_of(tile.last - 1),
                               table->end_of(tile.first), table->end_of(tile.last - 1));
  }
};
/// Documents of `lengths` tokens, positive and summing to N = M, in order; any range of integers or tensor of rank 1,
/// read now. Query i sees the keys of the document that token i is in. Keeps 8 bytes per token.
template <class Lengths>
Documents documents(const Lengths& lengths) {
  return {{}, detail::document_table(lengths, "documents")};
}
inline Documents documents(std::initializer_list<Index> lengths) {
  return documents<std::initializer_list<Index>>(lengths);
}

/// The first keys of each document.
struct DocumentPrefix : VisibilityRuleBase {
  std::shared_ptr<const detail::DocumentTable> table;
  Index count;

  void check(const AttentionShape& shape) const { table->check(shape, "document_prefix"); }
  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    if constexpr (L == Lanes::kQueries) {
      return simd::Mask<T>(at.first_key - table->begin_of(at.first_key) < count);
    } else {
      const auto begin = simd::load_integers<T>(table->begin.data() + at.first_key, 1, at.count);
      return simd::to_mask<T>(at.key() - begin < detail::lane_value(at, count));
    }
  }
  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    const Index end = table->end_of(key), prefix_end = std::min(table->begin_of(key) + count, end);
    return key < prefix_end ? Run{Seen::kAll, prefix_end} : Run{Seen::kNone, end};
  }
};
/// The first `count` >= 0 keys of the document that key j is in, for any query: a part of prefix_lm_documents().
inline DocumentPrefix document_prefix(const Documents& documents, Index count) {
  require(count >= 0, "document_prefix", "the count must be 0 or more, got ", count);
  return {{}, documents.table, count};
}

/// Some queries see everything.
struct QueryRange : VisibilityRuleBase {
  Index begin, end;
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.query() >= detail::lane_value(at, begin) && at.query() < detail::lane_value(at, end);
  }
  Run run(const QueryTile& tile, Index) const {
    if (tile.first >= begin && tile.last <= end) return {Seen::kAll, kEndless};
    return {tile.first < end && tile.last > begin ? Seen::kSome : Seen::kNone, kEndless};
  }
};
/// Every key is visible to the queries begin <= i < end, none to the others: for `||` with other rules.
inline QueryRange query_range(Index begin, Index end) {
  require(begin >= 0 && end >= begin, "query_range", "needs 0 <= begin <= end, got ", begin, " and ", end);
  return {{}, begin, end};
}

/// Causal by blocks.
struct BlockCausal : VisibilityRuleBase {
  Divider by_block;
  Index block_end(Index query) const { return (by_block.quotient(query) + 1) * by_block.divisor(); }
  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    if constexpr (L == Lanes::kQueries) {
      return at.query() >= detail::lane_value(at, at.first_key - by_block.remainder(at.first_key));
    } else {
      return at.key() < detail::lane_value(at, block_end(at.first_query));
    }
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_below(key, block_end(tile.first), block_end(tile.last - 1));
  }
};
/// Key j is visible to query i up to the end of i's block: j < (floor(i / block_size) + 1) * block_size, blocks of
/// 1 <= block_size < 2^31 tokens counted from token 0.
inline BlockCausal block_causal(Index block_size) {
  require(block_size > 0 && block_size < (Index(1) << 31), "block_causal",
          "the block size must be 1 or more and below 2^31, got ", block_size);
  return {{}, Divider(block_size)};
}

/// The masks that training on packed documents uses (Bu et al. 2026, long-context attention benchmark), by lengths as
/// documents() takes them; i and j are indices, N = M.
///
/// No gradient: visibility is piecewise constant.

/// doc(i) = doc(j) and j <= i.
template <class Lengths>
auto causal_documents(const Lengths& lengths) {
  return documents(lengths) && causal(0);
}

/// j <= i and (doc(j) = 0 or doc(i) = doc(j)): a question, then answers that see it and not each other.
template <class Lengths>
auto share_question(const Lengths& lengths) {
  const Documents own = documents(lengths);
  return causal(0) && (sink_tokens(own.table->tokens() == 0 ? 0 : own.table->end_of(0)) || own);
}

/// j <= i and (doc(i) = doc(j) or doc(i) is the last document): only the last document sees the others.
template <class Lengths>
auto causal_blockwise(const Lengths& lengths) {
  const Documents own = documents(lengths);
  const Index tokens = own.table->tokens();
  return causal(0) && (query_range(tokens == 0 ? 0 : own.table->begin_of(tokens - 1), tokens) || own);
}

/// j < prefix or j <= i, by position (j <= i + M - N) where N and M differ.
inline auto prefix_lm(Index prefix) {
  require(prefix >= 0, "prefix_lm", "the prefix must be 0 or more, got ", prefix);
  return causal() || sink_tokens(prefix);
}

/// doc(i) = doc(j) and (j is among the first `prefix` tokens of its document or j <= i).
template <class Lengths>
auto prefix_lm_documents(const Lengths& lengths, Index prefix) {
  const Documents own = documents(lengths);
  return own && (causal(0) || document_prefix(own, prefix));
}

/// doc(i) = doc(j) and j < (floor(i / block_size) + 1) * block_size.
template <class Lengths>
auto block_causal_documents(const Lengths& lengths, Index block_size) {
  return documents(lengths) && block_causal(block_size);
}

/// t - left <= j <= t + right, with t the query's position; 0 or more, or -1 for no limit.
inline auto sliding_window(Index left, Index right) {
  require(left >= -1 && right >= -1, "sliding_window", "the window must be -1 or more on either side, got ", left,
          " and ", right);
  return when(left >= 0, WindowLeft{{}, left}) && when(right >= 0, WindowRight{{}, right});
}

/// i < global_tokens or j < global_tokens or a sliding_window() (Longformer's mask, Beltagy et al. 2020).
inline auto global_sliding_window(Index global_tokens, Index left, Index right) {
  require(global_tokens >= 0, "global_sliding_window", "global_tokens must be 0 or more, got ", global_tokens);
  return query_range(0, global_tokens) || sink_tokens(global_tokens) || sliding_window(left, right);
}

}  // namespace heed::inline HEED_ISA
