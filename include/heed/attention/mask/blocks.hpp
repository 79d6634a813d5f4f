// SPDX-License-Identifier: Apache-2.0
// Visibility by blocks of queries and keys: equal ones, or ones of a length of their own per head.
#pragma once

#include <memory>
#include <vector>

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// An axis in blocks of one size, the last one possibly short.
class EqualBlocks {
 public:
  explicit EqualBlocks(Index size) : by_size_(size) {}
  Index find(Index, Index x) const { return by_size_.quotient(x); }
  Index begin(Index, Index block) const { return block * by_size_.divisor(); }
  Index end(Index, Index block) const { return (block + 1) * by_size_.divisor(); }

  void check(Index, Index length, Index blocks, std::string_view where, std::string_view axis) const {
    const Index expected = (length + by_size_.divisor() - 1) / by_size_.divisor();
    require(blocks == expected, where, "the block mask must have ", expected, " blocks of ", by_size_.divisor(),
            " along the ", axis, " of length ", length, ", got ", blocks);
  }

 private:
  Divider by_size_;
};

// An axis in blocks of given lengths per head, some of them perhaps empty.
class LengthBlocks {
 public:
  LengthBlocks(const View<const std::int32_t, 2>& lengths, std::string_view where, std::string_view name)
      : heads_(lengths.size(0)), blocks_(lengths.size(1)) {
    auto table = std::make_shared<Table>();
    table->begins.reserve(std::size_t(heads_ * (blocks_ + 1)));
    for (Index h = 0; h < heads_; ++h) {
      table->first_tokens.push_back(table->block_of.size());
      Index begin = 0;
      for (Index x = 0; x < blocks_; ++x) {
        require(lengths(h, x) >= 0, where, name, " must be 0 or more, got ", lengths(h, x), " at (", h, ", ", x, ")");
        table->begins.push_back(begin);
        table->block_of.resize(table->block_of.size() + std::size_t(lengths(h, x)), std::int32_t(x));
        begin += lengths(h, x);
      }
      table->begins.push_back(begin);
    }
    table_ = std::move(table);
  }

  Index find(Index head, Index x) const {
    return table_->block_of[table_->first_tokens[std::size_t(head)] + std::size_t(x)];
  }
  Index begin(Index head, Index block) const { return table_->begins[std::size_t(head * (blocks_ + 1) + block)]; }
  Index end(Index head, Index block) const { return begin(head, block + 1); }

  void check(Index heads, Index length, Index blocks, std::string_view where, std::string_view axis) const {
    require(heads_ == heads && blocks_ == blocks, where, "the lengths of blocks along the ", axis,
            " must have shape (heads, blocks) = (", heads, ", ", blocks, "), got (", heads_, ", ", blocks_, ")");
    for (Index h = 0; h < heads_; ++h)
      require(end(h, blocks_ - 1) == length, where, "the lengths of blocks along the ", axis, " must sum to ", length,
              ", got ", end(h, blocks_ - 1), " for head ", h);
  }

 private:
  struct Table {
    std::vector<std::size_t> first_tokens;  // per head, its place in block_of
    std::vector<std::int32_t> block_of;     // per head and token
    std::vector<Index> begins;              // per head and block, and one behind the last
  };
  Index heads_, blocks_;
  std::shared_ptr<const Table> table_;
};

}  // namespace detail

/// A mask (B, H, blocks of queries, blocks of keys), batch and heads full or 1.
template <class Blocks>
struct BlockMask : VisibilityRuleBase {
  View<const std::uint8_t, 4> mask;
  Blocks query_blocks, key_blocks;

  void check(const AttentionShape& shape) const {
    for (const int axis : {0, 1}) {
      const Index full = axis == 0 ? shape.batch : shape.heads;
      require(mask.size(axis) == full || mask.size(axis) == 1, kName, "the block mask must have 1 or ", full,
              axis == 0 ? " batches" : " heads", ", got shape ", shape_text(mask.sizes));
    }
    query_blocks.check(shape.heads, shape.queries, mask.size(2), kName, "queries");
    key_blocks.check(shape.kv_heads, shape.keys, mask.size(3), kName, "keys");
  }
  Index step(int axis) const { return mask.size(axis) == 1 ? 0 : mask.stride(axis); }
  bool set(Index b, Index h, Index query_block, Index key_block) const {
    return mask.data[b * step(0) + h * step(1) + query_block * mask.stride(2) + key_block * mask.stride(3)] != 0;
  }

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    constexpr bool along_queries = L == Lanes::kQueries;
    const Blocks& lane_blocks = along_queries ? query_blocks : key_blocks;
    const Index lane_head = along_queries ? at.head : at.kv_head;
    const Index first = along_queries ? at.first_query : at.first_key;
    const Index other =
        along_queries ? key_blocks.find(at.kv_head, at.first_key) : query_blocks.find(at.head, at.first_query);
    const auto lanes = along_queries ? at.query() : at.key();
    // The blocks that the lanes run through are intervals; as a rule there are one or two of them.
    simd::Mask<T> seen(false);
    for (Index x = lane_blocks.find(lane_head, first);; ++x) {
      const Index end = lane_blocks.end(lane_head, x);
      if (set(at.batch, at.head, along_queries ? x : other, along_queries ? other : x))
        seen = seen || simd::to_mask<T>(lanes >= detail::lane_value(at, lane_blocks.begin(lane_head, x)) &&
                                        lanes < detail::lane_value(at, end));
      if (end >= first + at.count) return seen;
    }
  }

  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    const Index first = query_blocks.find(tile.head, tile.first), last = query_blocks.find(tile.head, tile.last - 1);
    Index x = key_blocks.find(tile.kv_head, key);
    const Seen seen = seen_by(tile, first, last, x);
    Index end = key_blocks.end(tile.kv_head, x);
    // Hidden blocks are skipped in one go. What is seen comes back with every tile of keys, so not too far at a time.
    constexpr Index kWalk = 128;
    const Index limit = seen == Seen::kNone ? tile.keys : std::min(tile.keys, key + kWalk);
    while (end < limit) {
      ++x;
      const Index next = key_blocks.end(tile.kv_head, x);
      if (next > end && seen_by(tile, first, last, x) != seen) break;
      end = next;
    }
    return {seen, end};
  }

 private:
  static constexpr std::string_view kName = "block_mask";

  // What queries of the blocks first .. last see of the keys of a block.
  Seen seen_by(const QueryTile& tile, Index first, Index last, Index key_block) const {
    bool any = false, all = true;
    for (Index x = first; x <= last; ++x) {
      if (x != first && query_blocks.begin(tile.head, x) == query_blocks.end(tile.head, x)) continue;
      const bool seen = set(tile.batch, tile.head, x, key_block);
      any |= seen;
      all &= seen;
    }
    return all ? Seen::kAll : any ? Seen::kSome : Seen::kNone;
  }
};

/// Key j is visible to query i where mask(b, h, floor(i / q_block_size), floor(j / k_block_size)) is not 0. `mask`:
/// std::uint8_t or bool, rank 2 to 4, (B or 1, H or 1, ceil(N / q_block_size), ceil(M / k_block_size)), read when the
/// attention runs; block sizes of 1 or more. Blocks that are not set cost nothing but the look at the mask.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike X>
auto block_mask(X&& mask, Index q_block_size, Index k_block_size) {
  require(q_block_size > 0 && k_block_size > 0 && std::max(q_block_size, k_block_size) < (Index(1) << 31), "block_mask",
          "block sizes must be 1 or more and below 2^31, got ", q_block_size, " and ", k_block_size);
  using Blocks = detail::EqualBlocks;
  return BlockMask<Blocks>{
      {}, detail::bytes_of(std::forward<X>(mask)).template promote<4>(), Blocks(q_block_size), Blocks(k_block_size)};
}

/// The same with blocks of a length of their own: q_block_lengths (H, blocks of queries), k_block_lengths (Hk, blocks
/// of keys), int32, 0 or more, summing to N and M for each head; `mask` (H or 1, blocks of queries, blocks of keys) or
/// rank 4 with B or 1 before it. The lengths are read now, the mask when the attention runs. Keeps 4 bytes per head and
/// token.
template <TensorLike X, TensorLike Q, TensorLike K>
auto block_mask(X&& mask, const Q& q_block_lengths, const K& k_block_lengths) {
  using Blocks = detail::LengthBlocks;
  return BlockMask<Blocks>{{},
                           detail::bytes_of(std::forward<X>(mask)).template promote<4>(),
                           Blocks(const_view(q_block_lengths), "block_mask", "q_block_lengths"),
                           Blocks(const_view(k_block_lengths), "block_mask", "k_block_lengths")};
}

}  // namespace heed::inline HEED_ISA
