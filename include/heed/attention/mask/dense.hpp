// SPDX-License-Identifier: Apache-2.0
// A visibility rule written out as a dense mask.
#pragma once

#include <algorithm>
#include <optional>

#include "heed/attention/mask/rule.hpp"

namespace heed::inline HEED_ISA {

/// Writes 1 where the rule shows key j to query i and 0 elsewhere into `mask`, (B, H, N, M) of std::uint8_t, by the
/// rule's runs and tests as the attention asks them. Of `shape`, the widths are not used. `position_offset` is that of
/// SoftmaxOptions: position(i) = i + position_offset; none: M - N, or key_lengths' lengths[b] - N.
///
/// No gradient: visibility is piecewise constant.
template <VisibilityRule Rule>
void dense_mask(const Rule& rule, const AttentionShape& shape, const View<std::uint8_t, 4>& mask,
                std::optional<Index> position_offset = std::nullopt) {
  const std::array<Index, 4> expected{shape.batch, shape.heads, shape.queries, shape.keys};
  require(mask.sizes == expected, "dense_mask", "the mask must have shape ", shape_text(expected), ", got ",
          shape_text(mask.sizes));
  require(shape.heads == 0 || (shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0), "dense_mask",
          "the number of heads ", shape.heads, " must be a multiple of the number of key/value heads ", shape.kv_heads);
  detail::check_part(rule, shape);
  using T = float;
  constexpr Index w = simd::kLanes<T>;
  alignas(64) T lanes[w];
  for (Index b = 0; b < shape.batch; ++b) {
    const Index keys = std::min(shape.keys, detail::key_count_of(rule, b, shape.keys));
    const Index offset = position_offset ? *position_offset : keys - shape.queries;
    for (Index h = 0; h < shape.heads; ++h)
      for (Index i = 0; i < shape.queries; ++i) {
        const QueryTile tile{b, h, h * shape.kv_heads / shape.heads, i, i + 1, offset, shape.keys};
        At<T, Lanes::kKeys> at;
        at.batch = b;
        at.head = h;
        at.kv_head = tile.kv_head;
        at.first_query = i;
        at.offset = offset;
        for (Index j = 0; j < keys;) {
          const Run run = detail::run_of(rule, tile, j);
          const Index end = std::min(run.end, keys);
          if (run.seen != Seen::kSome) {
            for (; j < end; ++j) mask(b, h, i, j) = run.seen == Seen::kAll;
            continue;
          }
          at.first_key = j;
          at.count = std::min(w, end - j);
          simd::select(detail::test(rule, at), simd::Batch<T>(T(1)), simd::Batch<T>(T(0))).store_aligned(lanes);
          for (Index lane = 0; lane < at.count; ++lane, ++j) mask(b, h, i, j) = lanes[lane] != T(0);
        }
        for (Index j = keys; j < shape.keys; ++j) mask(b, h, i, j) = 0;
      }
  }
}

/// The same into a new tensor (B, H, N, M).
template <VisibilityRule Rule>
Tensor<std::uint8_t, 4> dense_mask(const Rule& rule, const AttentionShape& shape,
                                   std::optional<Index> position_offset = std::nullopt) {
  Tensor<std::uint8_t, 4> mask(shape.batch, shape.heads, shape.queries, shape.keys);
  dense_mask(rule, shape, view(mask), position_offset);
  return mask;
}

}  // namespace heed::inline HEED_ISA
