// SPDX-License-Identifier: Apache-2.0
// Visibility by a run of keys per query.
#pragma once

#include <algorithm>
#include <cstdint>

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// Query i sees the keys from begin(b, h, i) up to, not including, end(b, h, i).
struct KeyRanges : VisibilityRuleBase {
  View<const std::int32_t, 3> begins, ends;  ///< B or 1, H or 1, N

  void check(const AttentionShape& shape) const {
    const std::array<Index, 3> rows{shape.batch, shape.heads, shape.queries};
    begins.broadcast(rows, "key_ranges", "begin (B, H, N)");
    ends.broadcast(rows, "key_ranges", "end (B, H, N)");
  }
  static const std::int32_t* row(const View<const std::int32_t, 3>& x, Index b, Index h) {
    return x.data + (x.size(0) == 1 ? 0 : b * x.stride(0)) + (x.size(1) == 1 ? 0 : h * x.stride(1));
  }
  static Index step(const View<const std::int32_t, 3>& x) { return x.size(2) == 1 ? 0 : x.stride(2); }

  template <Real T, Lanes L>
  HEED_INLINE auto operator()(const At<T, L>& at) const {
    const auto load = [&](const View<const std::int32_t, 3>& x) {
      return simd::load_integers<T>(row(x, at.batch, at.head) + at.first_query * step(x),
                                    L == Lanes::kQueries ? step(x) : 0, at.count);
    };
    const auto key = at.key();
    return load(begins) <= key && key < load(ends);
  }

  Run run(const QueryTile& tile, Index key) const {
    // Where only some queries see a key, the edges of their ranges may follow each other closely: the test then decides
    // on a few keys at a time.
    constexpr Index kEdge = 16;
    const std::int32_t* const begin = row(begins, tile.batch, tile.head);
    const std::int32_t* const end = row(ends, tile.batch, tile.head);
    const Index begin_step = step(begins), end_step = step(ends);
    bool any = false, all = true;
    Index change = kEndless;
    for (Index i = tile.first; i < tile.last; ++i) {
      const Index from = begin[i * begin_step], to = end[i * end_step];
      if (from <= key && key < to) {
        any = true;
        change = std::min(change, to);
      } else {
        all = false;
        if (from > key && from < to) change = std::min(change, from);
      }
    }
    if (any && all) return {Seen::kAll, change};
    if (any) return {Seen::kSome, std::max(change, key + kEdge)};
    return {Seen::kNone, change};
  }
};
/// Key j is visible to query i where begin(b, h, i) <= j < end(b, h, i): int32 (B, H, N), B and H full or 1, in any
/// order; read when the attention runs. Keys that no query of a tile sees are skipped.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike X, TensorLike Y>
KeyRanges key_ranges(X&& begin, Y&& end) {
  static_assert(std::same_as<ScalarOf<X>, std::int32_t> && std::same_as<ScalarOf<Y>, std::int32_t>,
                "heed::key_ranges: begins and ends are std::int32_t");
  return {{}, detail::kept_view(std::forward<X>(begin)), detail::kept_view(std::forward<Y>(end))};
}

}  // namespace heed::inline HEED_ISA
