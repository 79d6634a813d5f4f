// SPDX-License-Identifier: Apache-2.0
// Keys that are seen by a run of queries each: those that are among the largest so far.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "heed/attention/mask/rule.hpp"
#include "heed/core/device.hpp"
#include "heed/kernel/top_k.hpp"

namespace heed::inline HEED_ISA {

/// The keys of every chunk of `queries` queries, `keys` places for each: place x of head h holds key(b, h, x), or -1,
/// which the queries from(b, h, x) .. until(b, h, x) - 1 of its chunk see.
struct LiveKeys {
  Tensor<std::int32_t, 3> key, from, until;  ///< (B, Hk, chunks keys)
  Index queries = 1, keys = 0;
};

/// Query i sees the places of its chunk with from <= i < until.
struct LiveKeysRule : VisibilityRuleBase {
  View<const std::int32_t, 3> from, until;
  Index chunk_queries, chunk_keys;

  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    const auto load = [&](const View<const std::int32_t, 3>& x) {
      return simd::load_integers<T>(x.at(at.batch, at.kv_head, at.first_key), L == Lanes::kQueries ? 0 : 1, at.count);
    };
    const auto query = at.query();
    return load(from) <= query && query < load(until);
  }
  Run run(const QueryTile& tile, Index key) const {
    const Index begin = tile.first / chunk_queries * chunk_keys;
    const Index end = ((tile.last - 1) / chunk_queries + 1) * chunk_keys;
    if (key < begin) return {Seen::kNone, begin};
    if (key >= end) return {Seen::kNone, kEndless};
    const std::int32_t* const low = from.at(tile.batch, tile.kv_head);
    const std::int32_t* const high = until.at(tile.batch, tile.kv_head);
    const auto seen_at = [&](Index x) {
      if (low[x] >= tile.last || high[x] <= tile.first || low[x] >= high[x]) return Seen::kNone;
      return low[x] <= tile.first && high[x] >= tile.last ? Seen::kAll : Seen::kSome;
    };
    const Seen seen = seen_at(key);
    constexpr Index kWalk = 128;  // what is seen comes back with every tile of keys
    const Index limit = seen == Seen::kNone ? end : std::min(end, key + kWalk);
    Index stop = key + 1;
    while (stop < limit && seen_at(stop) == seen) ++stop;
    return {seen, stop};
  }
};

/// For query i of N, the `size` keys of largest bias among all M, or if causal among the first i + M - N + 1: bias (B, Hk,
/// M). As more keys come into sight, a key that was pushed out never returns, so that each is seen by one run of queries.
/// Ties go to the lower key; -infinity and NaN are never seen. Time O(B Hk (M log size + places)).
///
/// No gradient: the choice has none.
template <Device D, class T>
LiveKeys largest_so_far(const D& device, const View<const T, 3>& bias, Index queries, Index size, bool causal) {
  const Index batch = bias.size(0), heads = bias.size(1), keys = bias.size(2), before = keys - queries;
  constexpr Index kLeast = 64;
  LiveKeys live;
  // Longer chunks hold more keys that not all of their queries see, shorter ones repeat more keys.
  live.queries = causal ? std::max(kLeast, size / 4 / kLeast * kLeast) : std::max<Index>(1, queries);
  const Index chunks = (queries + live.queries - 1) / live.queries;
  std::vector<std::int32_t> from(std::size_t(batch * heads * keys)), until(from.size());
  std::vector<Index> counts(std::size_t(batch * heads * chunks), 0);
  const auto touches = [&](std::size_t x, Index chunk) {
    return from[x] < until[x] && from[x] < (chunk + 1) * live.queries && until[x] > chunk * live.queries;
  };
  parallel_for(device, batch * heads, [&](Index unit) {
    std::vector<kernel::Ranked<T>> heap;
    const auto first = std::size_t(unit * keys);
    for (Index j = 0; j < keys; ++j) {
      const std::size_t x = first + std::size_t(j);
      const T value = bias(unit / heads, unit % heads, j);
      // The first query that has this key in sight.
      const Index at = causal ? std::max<Index>(0, j - before) : 0;
      from[x] = until[x] = 0;
      if (!(value > -std::numeric_limits<T>::infinity()) || size == 0) continue;
      if (Index(heap.size()) == size) {
        if (!(value > heap.front().value)) continue;
        std::pop_heap(heap.begin(), heap.end(), kernel::ranks_before<T>);
        until[first + std::size_t(heap.back().index)] = std::int32_t(at);
        heap.pop_back();
      }
      from[x] = std::int32_t(at);
      until[x] = std::int32_t(queries);
      heap.push_back({value, std::int32_t(j)});
      std::push_heap(heap.begin(), heap.end(), kernel::ranks_before<T>);
    }
    for (Index chunk = 0; chunk < chunks; ++chunk)
      for (Index j = 0; j < keys; ++j) counts[std::size_t(unit * chunks + chunk)] += touches(first + std::size_t(j), chunk);
  });
  for (const Index count : counts) live.keys = std::max(live.keys, count);
  for (auto* tensor : {&live.key, &live.from, &live.until}) tensor->resize(batch, heads, chunks * live.keys);
  parallel_for(device, batch * heads * chunks, [&](Index unit) {
    const Index chunk = unit % chunks, begin = chunk * live.queries, end = std::min(queries, begin + live.queries);
    const auto first = std::size_t(unit / chunks * keys);
    Index to = unit * live.keys;
    const auto write = [&](Index j, Index low, Index high) {
      live.key.data()[to] = std::int32_t(j);
      live.from.data()[to] = std::int32_t(low);
      live.until.data()[to++] = std::int32_t(high);
    };
    // Those that all queries of the chunk see come first.
    for (const bool whole : {true, false})
      for (Index j = 0; j < keys; ++j) {
        const std::size_t x = first + std::size_t(j);
        if (!touches(x, chunk) || (from[x] <= begin && until[x] >= end) != whole) continue;
        write(j, std::max<Index>(begin, from[x]), std::min<Index>(end, until[x]));
      }
    while (to < (unit + 1) * live.keys) write(-1, 0, 0);
  });
  return live;
}

}  // namespace heed::inline HEED_ISA
