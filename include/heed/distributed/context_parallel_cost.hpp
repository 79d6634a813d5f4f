// SPDX-License-Identifier: Apache-2.0
// What a rank of context-parallel attention computes, sends and holds, from the sizes alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/context_parallel_tiles.hpp"
#include "heed/distributed/sequence_partition.hpp"

namespace heed::inline HEED_ISA {

/// The sizes of one call over all ranks. A number of q, out and lse has number_bytes, one of k and v key_bytes.
struct ContextParallelShape {
  Index batch = 1, heads = 1, kv_heads = 1, length = 0, width = 64, value_width = 64;
  Index number_bytes = 4, key_bytes = 4;
};

/// Of a part of the keys: what the queries of a position compute with it, summed over batch and heads of the rank.
struct StepWork {
  double pairs = 0;          ///< of queries and keys that see one another
  double rows = 0;           ///< that go through the engine and are merged: a query once for every piece of keys
  double diagonal_rows = 0;  ///< of those, the ones of pieces that the causal rule cuts
  double calls = 0;          ///< of the engine
  StepWork& operator+=(const StepWork& more) {
    pairs += more.pairs;
    rows += more.rows;
    diagonal_rows += more.diagonal_rows;
    calls += more.calls;
    return *this;
  }
};

/// A forward of ContextParallelAttention with the rule of its options, rank by rank, with n = slots(N) and part =
/// B n U (Hk / U) (D + Dv) key_bytes:
/// - sent through the ring: hops part; hops = R - 1 where every position sees keys of every other (not causal, or
///   zigzag), else as many as the rank passes on, of keys that some position behind it uses
/// - sent by the all-to-alls: (U - 1) / U B n (Hk (D + Dv) key_bytes + H (D + Dv + 1) number_bytes)
/// - held: q, k, v, out and lse twice (of the caller, and by heads), and the parts under way: of a ring min(R - 1, 2),
///   of a double ring as many of each of its rings, R - 1 gathered
///
/// The numbers and bytes by which ranks agree on options and sizes come on top. Time O(R^2) once, then O(1) each.
class ContextParallelCost {
 public:
  ContextParallelCost(const ContextParallelAttention::Options& options, const ContextParallelShape& shape)
      : o_(options), s_(shape), slots_(ContextParallelAttention{options}.slots(shape.length)) {
    const Index r = o_.ring_size;
    for (Index q = 0; q < r; ++q)
      for (Index p = 0; p < r; ++p) work_.push_back(counted(q, p));
    const Everything rule;
    const detail::ContextTiles<Everything> tiles{o_.layout, s_.length, r,  o_.causal, o_.window_left,
                                                 o_.scale,  rule,      {}, 0,         0};
    if (!o_.causal && !o_.window_left) uses_.assign(std::size_t(r * r), 1);
    for (Index q = 0; q < r && uses_.size() < std::size_t(r * r); ++q)
      for (const char used : tiles.uses(q)) uses_.push_back(used);
    // Whether someone from step s on uses the keys of p: within the window of s, and at all.
    in_window_.resize(uses_.size());
    in_ring_.resize(uses_.size());
    const detail::KeyRing ring = ring_of(0);
    for (Index p = 0; p < r; ++p)
      for (Index s = r - 1; s >= 0; --s) {
        const bool used = uses_[at(ring.worker_of(p, s), p)] != 0;
        in_ring_[at(p, s)] = used || (s + 1 < r && in_ring_[at(p, s + 1)]);
        in_window_[at(p, s)] = used || ((s + 1) % o_.inner_ring_size != 0 && in_window_[at(p, s + 1)]);
      }
  }

  const ContextParallelAttention::Options& options() const { return o_; }
  const ContextParallelShape& shape() const { return s_; }
  Index ranks() const { return o_.ulysses_size * o_.ring_size; }
  bool gathered() const { return o_.strategy == ContextStrategy::kAllGather; }

  /// The ring as the rank of position p sees it.
  detail::KeyRing ring_of(Index p) const {
    return {o_.ring_size, o_.inner_ring_size, p, o_.ulysses_size, 0, gathered(), {}};
  }
  /// Whether the keys of position p go on to the rank that works with them at step s > 0.
  bool arrives(Index p, Index s) const { return (s % o_.inner_ring_size == 0 ? in_ring_ : in_window_)[at(p, s)] != 0; }
  bool uses(Index worker, Index p) const { return uses_[at(worker, p)] != 0; }

  /// What the queries of position q compute with the keys of position p.
  const StepWork& work(Index q, Index p) const { return work_[at(q, p)]; }

  double part_bytes() const {
    return double(s_.batch) * double(slots_) * double(s_.kv_heads * (s_.width + s_.value_width) * s_.key_bytes);
  }
  /// Parts that the position passes on.
  Index hops(Index position) const {
    Index count = 0;
    const detail::KeyRing ring = ring_of(position);
    for (Index s = 0; s < o_.ring_size; ++s) {
      if (gathered()) {
        count += s != position && uses(s, position);
        continue;
      }
      const Index inner = o_.inner_ring_size;
      if (s % inner == 0 && s + inner < o_.ring_size) count += arrives(ring.keys_at(s), s + inner);
      if ((s + 1) % inner != 0) count += arrives(ring.keys_at(s), s + 1);
    }
    return count;
  }
  /// Sent by the all-to-alls before the ring, and behind it.
  double bytes_to_heads() const { return away() * (key_numbers() * double(s_.key_bytes) + q_bytes()); }
  double bytes_to_tokens() const { return away() * out_bytes(); }

  /// Bytes that the rank sends in a forward.
  double bytes_sent(Index rank) const {
    return double(hops(rank / o_.ulysses_size)) * part_bytes() + bytes_to_heads() + bytes_to_tokens();
  }

  /// Bytes of the tensors that the rank makes: q, k and v by heads, out and lse by heads and by tokens.
  double bytes_made() const { return key_numbers() * double(s_.key_bytes) + q_bytes() + 2 * out_bytes(); }

  /// Bytes that the rank holds.
  double memory() const {
    const auto spare = [](Index parts) { return double(std::min<Index>(parts - 1, 2)); };
    const Index inner = o_.inner_ring_size;
    const double parts = gathered() ? double(o_.ring_size - 1) : spare(inner) + spare(o_.ring_size / inner);
    return 2 * (bytes_made() - out_bytes()) + parts * part_bytes();
  }

 private:
  std::size_t at(Index row, Index column) const { return std::size_t(row * o_.ring_size + column); }
  double away() const { return double(o_.ulysses_size - 1) / double(o_.ulysses_size); }
  double tokens() const { return double(s_.batch) * double(slots_); }
  double key_numbers() const { return tokens() * double(s_.kv_heads * (s_.width + s_.value_width)); }
  double q_bytes() const { return tokens() * double(s_.heads * s_.width * s_.number_bytes); }
  double out_bytes() const { return tokens() * double(s_.heads * (s_.value_width + 1) * s_.number_bytes); }

  // The sum over i in 0 .. q - 1 of how many of 0 .. k - 1 are no more than i + upper.
  static double below(double q, double k, double upper) {
    const double from = std::clamp(-upper, 0.0, q), full = std::clamp(k - 1 - upper, from, q);
    const double ramp = full - from, first = from + upper + 1;  // visible to `from`
    return ramp * first + ramp * (ramp - 1) / 2 + (q - full) * k;
  }
  StepWork counted(Index q_position, Index p) const {
    StepWork sum;
    const double planes = double(s_.batch * s_.heads / o_.ulysses_size);
    for (const auto& q : detail::partition_runs(o_.layout, s_.length, o_.ring_size, q_position))
      for (const auto& k : detail::partition_runs(o_.layout, s_.length, o_.ring_size, p))
        sum += planes_of(q, k, planes);
    return sum;
  }
  StepWork planes_of(const detail::TokenRun& q, const detail::TokenRun& k, double planes) const {
    if (q.count == 0 || k.count == 0) return {};
    const auto floor_divide = [](Index a, Index b) { return a >= 0 ? a / b : -((b - 1 - a) / b); };
    const Index ahead = q.first - k.first;
    const double rows = double(q.count), keys = double(k.count);
    const double upper = o_.causal ? double(floor_divide(ahead, q.step)) : keys;
    double pairs = below(rows, keys, upper);
    if (o_.window_left)
      pairs -= std::min(pairs, below(rows, keys, double(-floor_divide(*o_.window_left - ahead, q.step)) - 1));
    if (pairs <= 0) return {};
    constexpr double kPiece = double(detail::ContextTiles<Everything>::kPiece);
    const double key_pieces = std::ceil(keys / kPiece), row_pieces = std::ceil(rows / kPiece);
    const double seen = pairs / (rows * keys);  // of the pieces, about so many
    const bool cut = o_.causal && upper < keys - 1;
    return {planes * pairs, planes * rows * std::max(1.0, seen * key_pieces), cut ? planes * rows : 0,
            std::max(1.0, seen * key_pieces * row_pieces)};
  }

  ContextParallelAttention::Options o_;
  ContextParallelShape s_;
  Index slots_;
  std::vector<StepWork> work_;
  std::vector<char> uses_, in_window_, in_ring_;
};

}  // namespace heed::inline HEED_ISA
