// SPDX-License-Identifier: Apache-2.0
// What the tokens of one ring position see of those of another, and the pieces that the engine is given.
#pragma once

#include <optional>
#include <type_traits>
#include <vector>

#include "heed/attention/softmax_attention.hpp"
#include "heed/distributed/key_ring.hpp"
#include "heed/distributed/placed_rule.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// One call of context-parallel attention: R ring positions over a sequence, what sees what in it, and which of its
/// heads the caller works on.
template <class Rule>
struct ContextTiles {
  SequenceLayout layout;
  Index length, positions;
  bool is_causal;
  std::optional<Index> width;  // of the window to the left
  std::optional<double> scale;
  const Rule& rule;
  AttentionShape whole;
  Index first_head, heads;

  static constexpr bool kRuled = !std::same_as<Rule, Everything>;
  /// Slots of queries and of keys that the engine is given at a time. What a step holds beside its results is of this
  /// many queries, and pairs of pieces that see nothing cost one look.
  static constexpr Index kPiece = 4096;

  /// Which positions' keys the queries of position r use.
  std::vector<char> uses(Index r) const {
    std::vector<char> row;
    for (Index p = 0; p < positions; ++p)
      row.push_back(
          for_each_pair(r, p, [&](Index, const TokenRun& q, Index, const TokenRun& k) { return sees(q, k); }));
    return row;
  }

  /// Completes a ring with who uses what: by the options each knows it of all, by a rule each knows its own.
  void find_uses(Communicator& comm, KeyRing& ring) const {
    if (kRuled) return share_uses(comm, ring, uses(ring.position));
    if (!is_causal && !width) return;
    for (Index r = 0; r < positions; ++r)
      for (const char used : uses(r)) ring.uses_of.push_back(used);
  }

  /// f(attend, queries, keys) for the pieces of the tokens of positions r and p that see one another; queries(x) and
  /// keys(x) are the pieces' parts of a tensor.
  template <class F>
  void for_each_tile(Index r, Index p, const F& f) const {
    const auto part_of = [](Index slot, const TokenRun& run) {
      return [slot, count = run.count](const auto& x) { return x.slice(2, slot, count); };
    };
    for_each_pair(r, p, [&](Index q_slot, const TokenRun& q, Index k_slot, const TokenRun& k) {
      for (Index i = 0; i < q.count; i += kPiece) {
        const TokenRun queries = piece_of(q, i, kPiece);
        if (!sees(queries, k)) continue;
        for (Index j = 0; j < k.count; j += kPiece) {
          const TokenRun keys = piece_of(k, j, kPiece);
          if (sees(queries, keys)) f(attention(queries, keys), part_of(q_slot + i, queries), part_of(k_slot + j, keys));
        }
      }
      return false;
    });
  }

 private:
  // f(slot, queries, slot, keys) for each pair of runs, until it says true: whether it did.
  template <class F>
  bool for_each_pair(Index r, Index p, const F& f) const {
    Index q_slot = 0;
    for (const TokenRun& q : partition_runs(layout, length, positions, r)) {
      Index k_slot = 0;
      for (const TokenRun& k : partition_runs(layout, length, positions, p)) {
        if (q.count > 0 && k.count > 0 && f(q_slot, q, k_slot, k)) return true;
        k_slot += k.count;
      }
      q_slot += q.count;
    }
    return false;
  }

  // What the options show of a run of keys to a run of queries: slot i sees slots i + lower .. i + upper, whose tokens
  // are as far apart in both.
  auto band(const TokenRun& q, const TokenRun& k) const {
    const auto floor_divide = [](Index a, Index b) { return a >= 0 ? a / b : -((b - 1 - a) / b); };
    const Index ahead = q.first - k.first;
    const Index upper = is_causal ? floor_divide(ahead, q.step) : kFarthest;
    const Index lower = width ? -floor_divide(*width - ahead, q.step) : -kFarthest;
    return causal(upper) && WindowLeft{{}, std::clamp(-lower, -kFarthest, kFarthest)};
  }
  auto visibility(const TokenRun& q, const TokenRun& k) const {
    if constexpr (kRuled) {
      const Index group = whole.heads / whole.kv_heads;
      return band(q, k) && PlacedRule<Rule>{{}, &rule, q, k, first_head, first_head / group, length};
    } else {
      return band(q, k);
    }
  }
  auto attention(const TokenRun& q, const TokenRun& k) const {
    return softmax_attention(visibility(q, k), {.scale = scale, .position_offset = 0});
  }

  bool sees(const TokenRun& q, const TokenRun& k) const {
    const auto seen = visibility(q, k);
    if constexpr (kRuled) {
      const Index group = whole.heads / whole.kv_heads;
      for (Index b = 0; b < whole.batch; ++b)
        for (Index h = 0; h < heads; ++h)
          if (any_seen(seen, {b, h, h / group, 0, q.count, 0, k.count})) return true;
      return false;
    } else {
      return any_seen(seen, {0, 0, 0, 0, q.count, 0, k.count});
    }
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
