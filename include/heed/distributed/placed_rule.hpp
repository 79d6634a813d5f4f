// SPDX-License-Identifier: Apache-2.0
// A visibility rule of a whole sequence, asked about parts of it.
#pragma once

#include <algorithm>
#include <array>
#include <limits>

#include "heed/attention/mask/rule.hpp"
#include "heed/distributed/sequence_partition.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline Index token_at(const TokenRun& run, Index slot) { return run.first + slot * run.step; }
inline TokenRun piece_of(const TokenRun& run, Index slot, Index count) {
  return {token_at(run, slot), run.step, std::min(count, run.count - slot)};
}

/// `rule` of a sequence of `length` tokens, for queries and keys that are runs of those tokens, and for heads from
/// `first_head` on: a rule that the engine can be given with the runs' tensors. Every rule is told tokens and heads of
/// the whole, by position and by what it reads from memory, and its runs of keys are turned into runs of slots.
///
/// Lanes that are neighbours in the sequence stay a batch. Where the tokens of a run are apart (kStriped), a test takes
/// one pair at a time, and a tile of queries is the stretch of the sequence that it lies in: what none or all of the
/// stretch see, none or all of the tile do.
template <class R>
struct PlacedRule : VisibilityRuleBase {
  const R* rule = nullptr;
  TokenRun queries, keys;
  Index first_head = 0, first_kv_head = 0, length = 0;
  static constexpr int kPlanes = kPlanesOf<R>;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    constexpr Index kLanes = simd::kLanes<T>;
    const bool neighbours = (L == Lanes::kQueries ? queries : keys).step == 1;
    if (neighbours) {
      At<T, L> there = at;
      place(at, 0, 0, there);
      return test(*rule, there);
    }
    alignas(64) T seen[kLanes] = {}, first[kLanes];
    for (Index lane = 0; lane < std::min(at.count, kLanes); ++lane) {
      At<T, Lanes::kKeys> pair;
      place(at, L == Lanes::kQueries ? lane : 0, L == Lanes::kKeys ? lane : 0, pair);
      pair.count = 1;
      simd::select(test(*rule, pair), simd::Batch<T>(T(1)), simd::Batch<T>(T(0))).store_aligned(first);
      seen[lane] = first[0];
    }
    return simd::load_aligned(seen) != simd::Batch<T>(T(0));
  }

  Run run(const QueryTile& tile, Index key) const {
    const Index count = key_count_of(*rule, tile.batch, length);
    if (key >= keys.count || token_at(keys, key) >= count) return {Seen::kNone, kEndless};
    QueryTile there = tile;
    there.head += first_head;
    there.kv_head += first_kv_head;
    there.first = token_at(queries, tile.first);
    there.last = token_at(queries, tile.last - 1) + 1;
    there.offset = count - length;
    there.keys = length;
    const Run run = run_of(*rule, there, token_at(keys, key));
    const Index end = std::min({run.end, count, token_at(keys, keys.count)});
    return {run.seen, ceil_divide(end - keys.first, keys.step)};
  }

  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    if (queries.step != 1) return;
    PairTile there = tile;
    there.head += first_head;
    there.first_query = token_at(queries, tile.first_query);
    there.first_key = token_at(keys, tile.first_key);
    fill_planes(*rule, there, plane, plane_size);
  }

 private:
  template <class From, class To>
  void place(const From& at, Index more_queries, Index more_keys, To& there) const {
    there.batch = at.batch;
    there.head = at.head + first_head;
    there.kv_head = at.kv_head + first_kv_head;
    there.first_query = token_at(queries, at.first_query + more_queries);
    there.first_key = token_at(keys, at.first_key + more_keys);
    there.offset = key_count_of(*rule, at.batch, length) - length;
  }
};

/// Whether a query of the tile sees a key, or may: a rule that cannot tell has it found out by the attention.
template <class R>
bool any_seen(const R& rule, const QueryTile& tile) {
  constexpr Index kSmallest = 64;
  Index key = 0;
  while (key < tile.keys) {
    const Run run = run_of(rule, tile, key);
    if (run.seen == Seen::kAll) return true;
    if (run.seen == Seen::kSome) break;
    key = run.end;
  }
  if (key >= tile.keys) return false;
  const Index count = tile.last - tile.first;
  if (count <= kSmallest) return true;
  QueryTile front = tile, back = tile;
  front.last = back.first = tile.first + count / 2;
  return any_seen(rule, front) || any_seen(rule, back);
}

}  // namespace detail

/// A rule whose queries are the slots of one ring position, for data by query of which each rank holds its own rows.
template <VisibilityRule R>
struct OwnRows : VisibilityRuleBase {
  R rule;
  std::array<detail::TokenRun, 2> runs;  // the tokens of the position
  Index rows;                            // its slots
  static constexpr int kPlanes = detail::kPlanesOf<R>;

  void check(const AttentionShape& shape) const {
    AttentionShape own = shape;
    own.queries = rows;
    detail::check_part(rule, own);
  }
  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    At<T, L> there = at;
    there.first_query = slot_of(at.first_query);
    there.offset = at.offset + at.first_query - there.first_query;
    return detail::test(rule, there);
  }
  Run run(const QueryTile& tile, Index key) const {
    if (runs[0].step != 1 && tile.last - tile.first > 1) return {Seen::kSome, kEndless};
    QueryTile there = tile;
    there.first = slot_of(tile.first);
    there.last = there.first + tile.last - tile.first;
    there.offset = tile.offset + tile.first - there.first;
    return detail::run_of(rule, there, key);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    PairTile there = tile;
    there.first_query = slot_of(tile.first_query);
    detail::fill_planes(rule, there, plane, plane_size);
  }

 private:
  Index slot_of(Index token) const {
    const detail::TokenRun& a = runs[0];
    if (token >= a.first && token < detail::token_at(a, a.count)) return (token - a.first) / a.step;
    return a.count + (token - runs[1].first) / runs[1].step;
  }
};

}  // namespace heed::inline HEED_ISA
