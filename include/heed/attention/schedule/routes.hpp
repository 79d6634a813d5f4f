// SPDX-License-Identifier: Apache-2.0
// Routes: which query reads which run of keys, ordered so that queries of the same keys stand together.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "heed/attention/at.hpp"
#include "heed/core/device.hpp"
#include "heed/core/scratch.hpp"

namespace heed::inline HEED_ISA {

/// A schedule of pairs (query, run of keys), P of them for each head: pair p of (b, h) is query(b, h, p) reading the
/// keys begin(b, h, p) .. end(b, h, p) - 1. Heads with fewer pairs end in ones of query -1 and no keys. A query has up
/// to S pairs, at the places place(b, h, i, s), or -1. Pairs of one begin stand together and have different queries.
struct Routes {
  Tensor<std::int32_t, 3> query, begin, end;  ///< (B, H, P)
  Tensor<std::int32_t, 4> place;              ///< (B, H, N, S)
  bool by_query = true;                       ///< whether pairs of one begin are in the order of their queries
};

namespace detail {

inline void resize_routes(Routes& routes, Index batch, Index heads, Index queries, Index pairs, Index slots) {
  routes.query.resize(batch, heads, pairs);
  routes.begin.resize(batch, heads, pairs);
  routes.end.resize(batch, heads, pairs);
  routes.place.resize(batch, heads, queries, slots);
}

inline void write_route(Routes& routes, Index row, Index query, Index begin, Index end) {
  routes.query.data()[row] = std::int32_t(query);
  routes.begin.data()[row] = std::int32_t(begin);
  routes.end.data()[row] = std::int32_t(end);
}

// Calls f(index) for the bytes that are set. Most of a row is zeros, eight of which cost one comparison.
template <class F>
void for_each_set(const std::uint8_t* row, Index count, const F& f) {
  Index j = 0;
  for (; j + 8 <= count; j += 8) {
    std::uint64_t word;
    std::memcpy(&word, row + j, 8);
    if (word == 0) continue;
    if constexpr (std::endian::native == std::endian::little) {
      constexpr std::uint64_t low = 0x7f7f7f7f7f7f7f7f;
      std::uint64_t set = (((word & low) + low) | word) & ~low;  // the highest bit of each byte that is not 0
      for (; set != 0; set &= set - 1) f(j + std::countr_zero(set) / 8);
    } else {
      for (Index x = j; x < j + 8; ++x)
        if (row[x] != 0) f(x);
    }
  }
  for (; j < count; ++j)
    if (row[j] != 0) f(j);
}

}  // namespace detail

/// The routes of queries to blocks: query i of head h reads block c where mask(b, floor(h Hm / H), i, c) is not 0, of
/// it the keys span(i, c), a pair of begin and end. mask (B, Hm, N, blocks), contiguous; H a multiple of Hm. Pairs of a
/// head are ordered by block, then by query. Time O(B H N blocks / 8 + pairs), twice over the mask.
///
/// No gradient: a choice has none.
template <Device D, class Span>
Routes route_blocks(const D& device, const View<const std::uint8_t, 4>& mask, Index heads, const Span& span) {
  const Index batch = mask.size(0), groups = mask.size(1), queries = mask.size(2), blocks = mask.size(3);
  require(groups > 0 && heads % groups == 0, "route_blocks", "the number of heads ", heads,
          " must be a multiple of that of the mask, ", groups);
  const Index share = heads / groups;
  // Per choice of a group: where the pairs of each block begin, their number behind them.
  std::vector<std::int32_t> starts(std::size_t(batch * groups * (blocks + 1)), 0);
  std::vector<std::int32_t> most(std::size_t(batch * groups), 0);
  parallel_for(device, batch * groups, [&](Index unit) {
    std::int32_t* const start = starts.data() + unit * (blocks + 1);
    for (Index i = 0; i < queries; ++i) {
      std::int32_t count = 0;
      detail::for_each_set(mask.data + (unit * queries + i) * blocks, blocks, [&](Index c) {
        ++start[c + 1];
        ++count;
      });
      most[std::size_t(unit)] = std::max(most[std::size_t(unit)], count);
    }
    for (Index c = 0; c < blocks; ++c) start[c + 1] += start[c];
  });
  Index pairs = 0, slots = 0;
  for (Index unit = 0; unit < batch * groups; ++unit) {
    pairs = std::max<Index>(pairs, starts[std::size_t(unit * (blocks + 1) + blocks)]);
    slots = std::max<Index>(slots, most[std::size_t(unit)]);
  }
  Routes routes;
  detail::resize_routes(routes, batch, heads, queries, pairs, slots);
  parallel_for(device, batch * heads, [&](Index unit) {
    const Index group = unit / heads * groups + unit % heads / share;
    ScratchFrame frame;
    auto* const next = frame.take<std::int32_t>(blocks + 1);
    std::copy_n(starts.data() + group * (blocks + 1), blocks + 1, next);
    for (Index p = next[blocks]; p < pairs; ++p) detail::write_route(routes, unit * pairs + p, -1, 0, 0);
    for (Index i = 0; i < queries; ++i) {
      std::int32_t* slot = routes.place.data() + (unit * queries + i) * slots;
      std::int32_t* const last = slot + slots;
      detail::for_each_set(mask.data + (group * queries + i) * blocks, blocks, [&](Index c) {
        const auto [begin, end] = span(i, c);
        detail::write_route(routes, unit * pairs + next[c], i, begin, end);
        *slot++ = next[c]++;
      });
      std::fill(slot, last, -1);
    }
  });
  return routes;
}

/// The routes of chosen queries alone: query i of head h has one pair, of the keys 0 .. limit(i) - 1, where the weight
/// of the head for it, weights(b, i, h), is not 0. Pairs of a head are ordered by query.
///
/// No gradient: a choice has none.
template <Device D, class U, class Limit>
Routes route_heads(const D& device, const View<const U, 3>& weights, const Limit& limit) {
  const Index batch = weights.size(0), queries = weights.size(1), heads = weights.size(2);
  std::vector<Index> counts(std::size_t(batch * heads), 0);
  parallel_for(device, batch, [&](Index b) {
    for (Index i = 0; i < queries; ++i)
      for (Index h = 0; h < heads; ++h) counts[std::size_t(b * heads + h)] += weights(b, i, h) != U(0);
  });
  Index pairs = 0;
  for (const Index count : counts) pairs = std::max(pairs, count);
  Routes routes;
  detail::resize_routes(routes, batch, heads, queries, pairs, 1);
  parallel_for(device, batch * heads, [&](Index unit) {
    Index p = 0;
    for (Index i = 0; i < queries; ++i) {
      const bool used = weights(unit / heads, i, unit % heads) != U(0);
      routes.place.data()[unit * queries + i] = used ? std::int32_t(p) : -1;
      if (used) detail::write_route(routes, unit * pairs + p++, i, 0, limit(i));
    }
    for (; p < pairs; ++p) detail::write_route(routes, unit * pairs + p, -1, 0, 0);
  });
  return routes;
}

}  // namespace heed::inline HEED_ISA
