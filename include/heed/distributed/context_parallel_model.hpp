// SPDX-License-Identifier: Apache-2.0
// How long context-parallel attention takes on machines that one does not have.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "heed/distributed/context_parallel_cost.hpp"

namespace heed::inline HEED_ISA {

/// Seconds that one rank takes: what a forward is made of.
struct RankSpeed {
  double pair = 0;          ///< of a query and a key of one head
  double row = 0;           ///< of a query of one head, each time that it is put through the engine and merged
  double diagonal_row = 0;  ///< the same on top, where the causal rule cuts
  double call = 0;          ///< of the engine
  double made_byte = 0;     ///< of a new tensor that numbers are copied to

  /// Of a rank as fast as `times` of these.
  RankSpeed faster(double times) const {
    return {pair / times, row / times, diagonal_row / times, call, made_byte / times};
  }
};

/// What lies between two ranks.
struct WireSpeed {
  double bandwidth = std::numeric_limits<double>::infinity();  ///< bytes per second, in and out at once
  double latency = 0;                                          ///< seconds of a message
  double overlap = 1;  ///< of the shorter of a computation and a transfer beside it, how much is hidden: 0 to 1

  double seconds(double messages, double bytes) const { return messages * latency + bytes / bandwidth; }
};

/// A cluster: ranks of one node of `node` consecutive ranks talk by `near`, others by `far`.
struct Cluster {
  RankSpeed speed;
  WireSpeed far;
  WireSpeed near = far;
  Index node = 1;

  const WireSpeed& between(Index a, Index b) const { return a / node == b / node ? near : far; }
};

/// What a forward would take, in seconds.
struct ContextParallelTime {
  double seconds = 0;
  double longest = 0;  ///< the computation of the rank that has most
  double mean = 0;     ///< the computation of a rank, on average
  double alone = 0;    ///< all pairs on one machine, nothing else: seconds of one rank
  double efficiency(Index ranks) const { return alone / (double(ranks) * seconds); }
};

/// The time of a forward of `cost` on a cluster, by the steps that ContextParallelAttention takes:
/// - work of a step: pair pairs + row rows + diagonal_row (rows cut by the causal rule) + call calls
/// - a ring: rank r begins step s + 1 when it is through with step s, has its next part, and its own has been taken:
///   max(t_r + work + (1 - overlap) min(work, m), max(t_r, t_left) + m, max(t_r, t_right) + m), with m = latency +
///   part / bandwidth of a part that is sent
/// - a double ring: the same in a window; the part of the next window is under way from the window's start, and shares
///   the wire with the window's own parts where all ranks are as near
/// - gathering: all parts share the wire and are there together: (R - 1) messages, then the work
/// - all-to-alls: (U - 1) messages each of q, k and v before, of out and lse behind; nothing is hidden
/// - all strategies: one message to each other rank, by which they agree on options; the tensors that it makes
///
/// Time O(R^2).
inline ContextParallelTime context_parallel_time(const ContextParallelCost& cost, const Cluster& cluster) {
  const auto& o = cost.options();
  const Index positions = o.ring_size, inner = o.inner_ring_size, u = o.ulysses_size, ranks = cost.ranks();
  const RankSpeed& speed = cluster.speed;
  const auto seconds_of = [&](const StepWork& work) {
    return speed.pair * work.pairs + speed.row * work.rows + speed.diagonal_row * work.diagonal_rows +
           speed.call * work.calls;
  };

  // All-to-alls within u ranks, of which `node` are near; the comparison of options with all ranks.
  const auto exchange = [&](Index group, double messages, double bytes) {
    const double others = double(group - 1), near = double(std::min(group, cluster.node) - 1);
    if (group == 1) return 0.0;
    return cluster.near.seconds(messages * near, bytes * near / others) +
           cluster.far.seconds(messages * (others - near), bytes * (others - near) / others);
  };
  const double around = exchange(ranks, 1, 256.0 * double(ranks - 1)) + exchange(u, 3, cost.bytes_to_heads()) +
                        exchange(u, 2, cost.bytes_to_tokens()) + speed.made_byte * cost.bytes_made();

  ContextParallelTime time;
  double pairs = 0;
  std::vector<double> begin(std::size_t(positions), 0.0), next(begin), computing(begin);
  std::vector<detail::KeyRing> rings;
  for (Index p = 0; p < positions; ++p) rings.push_back(cost.ring_of(p));
  std::vector<double> window_begin(begin);
  for (Index s = 0; s < positions; ++s) {
    if (s % inner == 0) window_begin = begin;
    const bool outer = (s + 1) % inner == 0, last = s + 1 == positions;
    for (Index r = 0; r < positions; ++r) {
      const detail::KeyRing& ring = rings[std::size_t(r)];
      const Index p = ring.keys_at(s);
      const StepWork& step = cost.work(r, p);
      const double work = cost.uses(r, p) ? seconds_of(step) : 0;
      pairs += step.pairs;
      computing[std::size_t(r)] += work;
      double& end = next[std::size_t(r)];
      end = begin[std::size_t(r)] + work;
      if (last || cost.gathered()) continue;
      // Begun with this window where it ends: the part of the next one.
      const auto& since = outer ? window_begin : begin;
      const Index window = r / inner, within = r % inner;
      const Index left = ring.wrapped(window - outer, within - !outer),
                  right = ring.wrapped(window + outer, within + !outer);
      const Index sent = outer ? ring.keys_at(s + 1 - inner) : p;
      double hidden = 0;
      const auto transfer = [&](Index peer) {
        const WireSpeed& wire = cluster.between(r * u, peer * u);
        const bool shared = outer && &wire == &cluster.between(r * u, ring.wrapped(window, within + 1) * u);
        const double message = wire.seconds(1, cost.part_bytes() * (shared ? double(inner) : 1.0));
        hidden = std::max(hidden, (1 - wire.overlap) * std::min(work, message));
        end = std::max(end, std::max(since[std::size_t(r)], since[std::size_t(peer)]) + message);
      };
      const double through = end;
      if (cost.arrives(ring.keys_at(s + 1), s + 1)) transfer(left);
      if (cost.arrives(sent, s + 1)) transfer(right);
      end = std::max(end, through + hidden);
    }
    std::swap(begin, next);
  }
  for (Index r = 0; r < positions; ++r) {
    double parts = 0;
    for (Index p = 0; cost.gathered() && p < positions; ++p) parts += p != r && cost.uses(r, p);
    const double wait = exchange(positions, parts / std::max(1.0, double(positions - 1)), parts * cost.part_bytes());
    time.seconds = std::max(time.seconds, begin[std::size_t(r)] + wait);
    time.longest = std::max(time.longest, computing[std::size_t(r)]);
    time.mean += computing[std::size_t(r)] / double(positions);
  }
  time.seconds += around;
  time.alone = speed.pair * pairs * double(u);
  return time;
}

}  // namespace heed::inline HEED_ISA
