// SPDX-License-Identifier: Apache-2.0
// sequence_partition: which tokens of a sequence each rank holds.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "heed/core/error.hpp"
#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// How a document is cut for W ranks. Under a causal mask the work of rank r is as r + 1/2 where kContiguous, and the
/// same for all ranks otherwise.
enum class SequenceLayout {
  kZigzag,      ///< 2 W chunks; rank r holds chunks r and 2 W - 1 - r
  kContiguous,  ///< W chunks; rank r holds chunk r
  kStriped      ///< rank r holds tokens r, r + W, r + 2 W, ..
};

/// index (W, n): the token in each slot of each rank, -1 for padding. inverse (sum of lengths): rank * n + slot of each
/// token.
struct SequencePartition {
  Tensor<std::int32_t, 2> index;
  Tensor<std::int32_t, 1> inverse;
};

namespace detail {

/// Tokens first, first + step, .. in consecutive slots.
struct TokenRun {
  Index first = 0, step = 1, count = 0;
};

inline Index ceil_divide(Index a, Index b) { return (a + b - 1) / b; }

/// Slots that a document takes on each rank.
inline Index partition_slots(SequenceLayout layout, Index length, Index world) {
  return layout == SequenceLayout::kZigzag ? 2 * ceil_divide(length, 2 * world) : ceil_divide(length, world);
}

/// A rank's tokens of a document, in the order of its slots; the slots behind them are padding.
inline std::array<TokenRun, 2> partition_runs(SequenceLayout layout, Index length, Index world, Index rank) {
  const auto chunk = [&](Index number, Index size) {
    return TokenRun{number * size, 1, std::clamp<Index>(length - number * size, 0, size)};
  };
  const Index slots = partition_slots(layout, length, world);
  if (layout == SequenceLayout::kZigzag) return {chunk(rank, slots / 2), chunk(2 * world - 1 - rank, slots / 2)};
  if (layout == SequenceLayout::kContiguous) return {chunk(rank, slots), TokenRun{}};
  return {TokenRun{rank, world, rank < length ? ceil_divide(length - rank, world) : 0}, TokenRun{}};
}

}  // namespace detail

/// Documents of `lengths` tokens, one behind the other, cut for `world_size` ranks, each document by itself: of a
/// document of L tokens every rank has n = 2 ceil(L / 2 W) slots for kZigzag, else n = ceil(L / W), those of a rank's
/// tokens first and then padding.
///
///   const std::array<heed::Index, 2> lengths{1000, 24};
///   const auto [index, inverse] = heed::sequence_partition(4, lengths, heed::SequenceLayout::kZigzag);
///
/// Throws heed::Error unless W is 1 or more, every length is 0 or more, and W n is below 2^31. O(W n). Source:
/// zigzag: LongCA-bench, shard.py; contiguous and striped are a transcription.
inline SequencePartition sequence_partition(Index world_size, std::span<const Index> lengths,
                                            SequenceLayout layout = SequenceLayout::kZigzag) {
  constexpr std::string_view kName = "sequence_partition";
  constexpr Index kMost = std::numeric_limits<std::int32_t>::max();
  require(world_size >= 1 && world_size <= kMost, kName, "world_size must be 1 or more, got ", world_size);
  Index slots = 0, tokens = 0;
  for (const Index length : lengths) {
    require(length >= 0 && length <= kMost, kName, "a length must be 0 or more and below 2^31, got ", length);
    slots += detail::partition_slots(layout, length, world_size);
    tokens += length;
    require(slots <= kMost / world_size, kName, "too many tokens: world_size * slots must be below 2^31");
  }
  SequencePartition result{Tensor<std::int32_t, 2>(world_size, slots), Tensor<std::int32_t, 1>(tokens)};
  result.index.setConstant(-1);
  Index first_token = 0, first_slot = 0;
  for (const Index length : lengths) {
    for (Index rank = 0; rank < world_size; ++rank) {
      Index slot = first_slot;
      for (const detail::TokenRun& run : detail::partition_runs(layout, length, world_size, rank))
        for (Index i = 0; i < run.count; ++i, ++slot) {
          const Index token = first_token + run.first + i * run.step;
          result.index(rank, slot) = std::int32_t(token);
          result.inverse(token) = std::int32_t(rank * slots + slot);
        }
    }
    first_token += length;
    first_slot += detail::partition_slots(layout, length, world_size);
  }
  return result;
}

}  // namespace heed::inline HEED_ISA
