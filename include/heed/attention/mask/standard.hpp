// SPDX-License-Identifier: Apache-2.0
// Visibility by position: causal, windows, sink tokens, prefixes, key lengths.
#pragma once

#include <algorithm>
#include <optional>

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Tests compare 32-bit lanes where scores are float. Queries and keys are fewer than 2^30, so that a width, count or
// offset beyond means the same as this one, and no sum with a position overflows.
inline constexpr Index kFarthest = Index(1) << 30;

// Keys [0, all) are seen by all queries of a tile, [all, some) by some, the rest by none.
inline Run run_below(Index key, Index all, Index some) {
  if (key < all) return {Seen::kAll, all};
  if (key < some) return {Seen::kSome, some};
  return {Seen::kNone, kEndless};
}

// Keys [0, some) are seen by none, [some, all) by some, the rest by all.
inline Run run_from(Index key, Index some, Index all) {
  if (key < some) return {Seen::kNone, some};
  if (key < all) return {Seen::kSome, all};
  return {Seen::kAll, kEndless};
}

template <class A>
auto lane_value(const A&, Index x) {
  return typename A::Integers(simd::IndexLane<typename A::Scalar>(x));
}

}  // namespace detail

/// Keys at or before the query's position.
struct Causal : VisibilityRuleBase {
  std::optional<Index> offset;  // of position(query) = query + offset; none: the attention's own

  Index shift(Index attention_offset) const { return offset ? *offset - attention_offset : 0; }
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() <= at.position() + detail::lane_value(at, shift(at.offset));
  }
  Run run(const QueryTile& tile, Index key) const {
    const Index s = shift(tile.offset);
    return detail::run_below(key, tile.first_position() + s + 1, tile.last_position() + s + 1);
  }
};
/// Key j is visible to query i when j <= p_i, with p_i = i + M - N: the last query sees every key.
///
/// No gradient: visibility is piecewise constant.
inline Causal causal() { return {}; }
/// Key j is visible to query i when j <= i + offset; offset 0 is the alignment at the top left.
inline Causal causal(Index offset) { return {{}, std::clamp(offset, -detail::kFarthest, detail::kFarthest)}; }

struct WindowLeft : VisibilityRuleBase {
  Index width;
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() >= at.position() - detail::lane_value(at, width);
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_from(key, tile.first_position() - width, tile.last_position() - width);
  }
};
/// Keys no more than `width` >= 0 before the query's position: with causal(), width + 1 keys.
inline WindowLeft window_left(Index width) {
  require(width >= 0, "window_left", "the width must be 0 or more, got ", width, "; leave the rule out for no limit");
  return {{}, std::min(width, detail::kFarthest)};
}

struct WindowRight : VisibilityRuleBase {
  Index width;
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() <= at.position() + detail::lane_value(at, width);
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_below(key, tile.first_position() + width + 1, tile.last_position() + width + 1);
  }
};
/// Keys no more than `width` >= 0 after the query's position.
inline WindowRight window_right(Index width) {
  require(width >= 0, "window_right", "the width must be 0 or more, got ", width, "; leave the rule out for no limit");
  return {{}, std::min(width, detail::kFarthest)};
}

/// Keys up to `left` before and `right` after the query's position; both 0 or more.
inline auto window(Index left, Index right) { return window_left(left) && window_right(right); }

struct SinkTokens : VisibilityRuleBase {
  Index count;
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() < detail::lane_value(at, count);
  }
  Run run(const QueryTile&, Index key) const { return detail::run_below(key, count, count); }
};
/// The first `count` >= 0 keys, as in `window_left(w) || sink_tokens(4)`.
inline SinkTokens sink_tokens(Index count) {
  require(count >= 0, "sink_tokens", "the count must be 0 or more, got ", count);
  return {{}, std::min(count, detail::kFarthest)};
}

/// The first lengths[b] keys, as in `causal() || prefix(lengths)`.
struct Prefix : VisibilityRuleBase {
  View<const std::int32_t, 1> lengths;
  void check(const AttentionShape& shape) const {
    require(lengths.size(0) == shape.batch, "prefix", "lengths must have shape (B) = (", shape.batch, "), got ",
            shape_text(lengths.sizes));
  }
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() < detail::lane_value(at, lengths(at.batch));
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_below(key, lengths(tile.batch), lengths(tile.batch));
  }
};
/// The first lengths[b] keys; lengths: (B) int32, read when the attention runs.
template <TensorLike X>
auto prefix(X&& lengths) {
  return Prefix{{}, detail::kept_view(std::forward<X>(lengths))};
}

struct KeyLengths : VisibilityRuleBase {
  View<const std::int32_t, 1> lengths;
  void check(const AttentionShape& shape) const {
    require(lengths.size(0) == shape.batch, "key_lengths", "lengths must have shape (B) = (", shape.batch, "), got ",
            shape_text(lengths.sizes));
    for (Index b = 0; b < shape.batch; ++b)
      require(lengths(b) >= 0 && lengths(b) <= shape.keys, "key_lengths", "lengths(", b, ") = ", lengths(b),
              " is outside of 0 .. M = ", shape.keys);
  }
  template <class A>
  HEED_INLINE auto operator()(const A& at) const {
    return at.key() < detail::lane_value(at, lengths(at.batch));
  }
  Run run(const QueryTile& tile, Index key) const {
    return detail::run_below(key, lengths(tile.batch), lengths(tile.batch));
  }
  Index key_count(Index batch, Index) const { return lengths(batch); }
};
/// Batch b has lengths[b] keys, of the M that its tensor has room for. Unlike prefix(), this moves the default
/// positions: p_i = i + lengths[b] - N. lengths: (B) int32, read when the attention runs.
template <TensorLike X>
auto key_lengths(X&& lengths) {
  return KeyLengths{{}, detail::kept_view(std::forward<X>(lengths))};
}

}  // namespace heed::inline HEED_ISA
