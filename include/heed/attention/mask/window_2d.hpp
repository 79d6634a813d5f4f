// SPDX-License-Identifier: Apache-2.0
// Visibility by distance in an image: a rectangle of pixels around each pixel.
#pragma once

#include "heed/attention/mask/standard.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

/// Queries and keys are the pixels of one image; a query sees the keys of a rectangle around it.
struct Window2d : VisibilityRuleBase {
  Index height, width, radius_y, radius_x;
  Divider by_width;

  void check(const AttentionShape& shape) const {
    require(shape.queries == height * width && shape.keys == height * width, "window_2d", "N and M must be ", height,
            " x ", width, " pixels, got N = ", shape.queries, " and M = ", shape.keys);
  }

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    // Seeing is mutual, so one code serves both directions. The lanes that the pixel of the other side sees are one
    // interval of indices per image row that the lanes run through, and that is one row most of the time: no lane needs
    // its own coordinates.
    const Index other = L == Lanes::kQueries ? at.first_key : at.first_query;
    const Index first = L == Lanes::kQueries ? at.first_query : at.first_key;
    const auto lanes = L == Lanes::kQueries ? at.query() : at.key();
    const Index y = by_width.quotient(other), x = other - y * width;
    const Index left = std::max<Index>(0, x - radius_x), right = std::min(width - 1, x + radius_x);
    const Index last_row = std::min(by_width.quotient(first + at.count - 1), y + radius_y);
    simd::Mask<T> seen(false);
    for (Index row = std::max(by_width.quotient(first), y - radius_y); row <= last_row; ++row)
      seen = seen || simd::to_mask<T>(lanes >= detail::lane_value(at, row * width + left) &&
                                      lanes <= detail::lane_value(at, row * width + right));
    return seen;
  }

  Run run(const QueryTile& tile, Index key) const {
    const Index row = by_width.quotient(key), column = key - row * width;
    const Extent queries(*this, tile);
    if (row > queries.last_row + radius_y) return {Seen::kNone, kEndless};
    if (row < queries.first_row - radius_y) return {Seen::kNone, begin_of(queries, queries.first_row - radius_y)};
    const Columns seen = columns_of(queries, row);
    if (column >= seen.left_end && column < seen.right_begin) return {Seen::kNone, row * width + seen.right_begin};
    if (column >= seen.right_end)
      return {Seen::kNone, row == queries.last_row + radius_y ? kEndless : begin_of(queries, row + 1)};
    const Index end = column < seen.left_end ? seen.left_end : seen.right_end;
    if (seen.all_begin < seen.all_end && column < seen.all_end) {
      if (column < seen.all_begin) return {Seen::kSome, row * width + std::min(end, seen.all_begin)};
      return {Seen::kAll, row * width + std::min(end, seen.all_end)};
    }
    return {Seen::kSome, row * width + end};
  }

 private:
  // From the first query of a tile, by image rows, to its last.
  struct Extent {
    Index first_row, last_row, first_column, last_column;
    Extent(const Window2d& w, const QueryTile& tile)
        : first_row(w.by_width.quotient(tile.first)),
          last_row(w.by_width.quotient(tile.last - 1)),
          first_column(tile.first - first_row * w.width),
          last_column(tile.last - 1 - last_row * w.width) {}
  };
  // Of an image row of keys, what some query sees, [0, left_end) and [right_begin, right_end), and what all see.
  struct Columns {
    Index left_end = 0, right_begin = 0, right_end = 0;
    Index all_begin = 0, all_end = 0;
  };

  Columns columns_of(const Extent& q, Index row) const {
    const auto near = [&](Index query_row) { return std::abs(row - query_row) <= radius_y; };
    Columns c;
    if (q.first_row == q.last_row) {
      c.right_begin = std::max<Index>(0, q.first_column - radius_x);
      c.right_end = std::min(width, q.last_column + radius_x + 1);
      c.all_begin = std::max<Index>(0, q.last_column - radius_x);
      c.all_end = std::min(width, q.first_column + radius_x + 1);
      return c;
    }
    if (near(q.first_row) && near(q.last_row)) {
      c.all_begin = std::max<Index>(0, width - 1 - radius_x);
      c.all_end = std::min(width, radius_x + 1);
    }
    c.right_end = width;
    const bool whole_rows = q.last_row - q.first_row > 1;
    if (whole_rows && near(std::clamp(row, q.first_row + 1, q.last_row - 1))) return c;
    c.left_end = near(q.last_row) ? std::min(width, q.last_column + radius_x + 1) : 0;
    c.right_begin = near(q.first_row) ? std::max(c.left_end, q.first_column - radius_x) : width;
    return c;
  }
  // The first key that some query sees in an image row within reach.
  Index begin_of(const Extent& q, Index row) const {
    const Columns c = columns_of(q, row);
    return row * width + (c.left_end > 0 ? 0 : c.right_begin);
  }
};

/// Queries and keys are the height x width pixels of the same image in row-major order, N = M = height * width < 2^31.
/// Key (y', x') is visible to query (y, x) when |y - y'| <= radius_y and |x - x'| <= radius_x; radii of 0 or more, in
/// pixels, cut off at the border. The kernel visits (2 radius_y + 1) * (2 radius_x + 64) keys or fewer per 64 queries.
///
/// No gradient: visibility is piecewise constant.
inline Window2d window_2d(Index height, Index width, Index radius_y, Index radius_x) {
  constexpr Index kLimit = Index(1) << 31;
  require(height >= 0 && width > 0 && width < kLimit && height <= (kLimit - 1) / width, "window_2d",
          "the image must have at least one column and fewer than 2^31 pixels, got ", height, " x ", width);
  require(radius_y >= 0 && radius_x >= 0, "window_2d", "radii must be 0 or more, got ", radius_y, " and ", radius_x);
  Window2d rule;
  rule.height = height;
  rule.width = width;
  rule.radius_y = std::min(radius_y, height);
  rule.radius_x = std::min(radius_x, width);
  rule.by_width = Divider(width);
  return rule;
}

}  // namespace heed::inline HEED_ISA
