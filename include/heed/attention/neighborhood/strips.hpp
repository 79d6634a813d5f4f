// SPDX-License-Identifier: Apache-2.0
// Neighbourhoods in a grid, and how its queries are cut into strips whose keys are few.
//
// The lanes of a batch are a box of queries: that is what keeps the union of their keys small (for windows of 7 x 7,
// 100 keys for 4 x 4 queries, 154 for 1 x 16). A strip is a row of such boxes along the last axis. Its queries and the
// keys that they see are counted column by column, so that a strip is a sequence with a window along it, and the kernel
// for sequences skips what none of a box sees.
#pragma once

#include "heed/attention/mask/rule.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/window_product.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The neighbours of position j of an axis without dilation: positions begin(j) .. end(j) - 1.
struct NeighborAxis {
  Index length = 1, kernel = 1, stride = 1;
  bool causal = false;

  Index begin(Index j) const {
    const Index group = j / stride * stride;
    if (causal) return std::max<Index>(0, std::min(group + stride - 1, length - 1) - kernel + 1);
    const Index before = kernel / 2, behind = kernel - 1 - before;
    const Index leader = std::min(group + stride / 2, length - 1);
    return std::min(std::max(leader, before), length - 1 - behind) - before;
  }
  Index end(Index j) const { return causal ? j + 1 : begin(j) + kernel; }

  /// About how many positions some of `count` neighbours in a row see.
  Index span(Index count) const { return kernel - 1 + std::max<Index>(1, count - stride + 1); }
};

/// Queries [query, query + queries) of each axis and all keys that they see.
struct Strip {
  std::array<Index, 3> query{}, queries{}, key{}, keys{};

  Index query_rows() const { return queries[0] * queries[1]; }
  Index key_rows() const { return keys[0] * keys[1]; }
  Index query_count() const { return query_rows() * queries[2]; }
  Index key_count() const { return key_rows() * keys[2]; }
};

/// The strips of a grid. They follow from its axes alone, and with them the order of every sum.
template <Real T>
class StripPlan {
 public:
  /// Strips of boxes of kLanes queries.
  explicit StripPlan(const std::array<NeighborAxis, 3>& axes) : axes_(axes), box_(smallest_box(axes)) {
    // Long strips are cut: what a piece works on stays in the second-level cache, and the keys that two pieces share
    // are few.
    constexpr Index kQueries = 512;
    cut(2, std::max(kQueries / (box_[0] * box_[1]), 2 * axes[2].kernel), box_[2]);
    count();
  }
  /// Strips of lines, for LineAttention: of so many that the keys which two strips share are few, cut where the keys of
  /// one head, `width` wide, would leave the second-level cache.
  StripPlan(const std::array<NeighborAxis, 3>& axes, Index width) : axes_(axes), box_{1, 1, 1} {
    constexpr Index lanes = simd::kLanes<T>, lines = kernel::kWindowLines, kKeys = (Index(1) << 19) / Index(sizeof(T));
    cut(1, std::max(2 * lines, 2 * axes[1].kernel), lines);
    const Index columns = kKeys / (axes[0].kernel * axes[1].span(box_[1]) * width) - axes[2].kernel - lanes;
    cut(2, std::max(columns, 2 * axes[2].kernel), lanes);
    count();
  }
  /// Whether lines take less time than boxes: no pair that they compute is hidden, but the lanes behind the end of a
  /// line are lost, and a single line loads each key for itself alone.
  static bool lines_pay(const std::array<NeighborAxis, 3>& axes) {
    constexpr Index lanes = simd::kLanes<T>;
    if (!simd::kPermutes<T> || axes[2].causal) return false;
    const auto box = smallest_box(axes);
    Index of_lines = (axes[2].length + lanes - 1) / lanes * lanes * (axes[1].length == 1 ? 2 : 1),
          of_boxes = axes[2].length;
    for (std::size_t a = 0; a < 3; ++a) of_lines *= axes[a].kernel, of_boxes *= axes[a].span(box[a]);
    return of_lines < of_boxes;
  }

  Index size() const { return counts_[0] * counts_[1] * counts_[2]; }
  Strip operator[](Index index) const {
    const std::array<Index, 3> at{index / counts_[2] / counts_[1], index / counts_[2] % counts_[1], index % counts_[2]};
    Strip strip;
    for (std::size_t a = 0; a < 3; ++a) {
      strip.query[a] = at[a] * box_[a];
      strip.queries[a] = std::min(box_[a], axes_[a].length - strip.query[a]);
      strip.key[a] = axes_[a].begin(strip.query[a]);
      strip.keys[a] = axes_[a].end(strip.query[a] + strip.queries[a] - 1) - strip.key[a];
    }
    return strip;
  }
  const NeighborAxis& axis(std::size_t a) const { return axes_[a]; }

 private:
  // The box of kLanes queries that see the fewest keys.
  static std::array<Index, 3> smallest_box(const std::array<NeighborAxis, 3>& axes) {
    constexpr Index lanes = simd::kLanes<T>;
    std::array<Index, 3> box{};
    Index least = 0;
    for (Index z = 1; z <= lanes && z < 2 * axes[0].length; z *= 2)
      for (Index y = 1; z * y <= lanes && y < 2 * axes[1].length; y *= 2) {
        const Index keys = axes[0].span(z) * axes[1].span(y) * axes[2].span(lanes / (z * y));
        if (least != 0 && keys >= least) continue;
        least = keys;
        box = {z, y, lanes / (z * y)};
      }
    return box;
  }
  // Cuts an axis evenly into pieces of about `most` queries and a multiple of `unit`.
  void cut(std::size_t a, Index most, Index unit) {
    const Index pieces = std::max<Index>(1, axes_[a].length / most);
    box_[a] = ((axes_[a].length + pieces - 1) / pieces + unit - 1) / unit * unit;
  }
  void count() {
    for (std::size_t a = 0; a < 3; ++a) counts_[a] = (axes_[a].length + box_[a] - 1) / box_[a];
  }

  std::array<NeighborAxis, 3> axes_;
  std::array<Index, 3> box_{}, counts_{};
};

/// What the queries of a strip see of its keys. Query i stands in column i / query_rows and row i % query_rows, and so
/// do keys: a query sees an interval of columns, of each the rows that its own row sees.
template <Real T>
class StripRule : public VisibilityRuleBase {
 public:
  static constexpr bool kWholeRuns = true;

  StripRule(const StripPlan<T>& plan, const Strip& strip, ScratchFrame& frame)
      : query_rows_(strip.query_rows()), key_rows_(strip.key_rows()) {
    first_ = frame.take<T>(strip.query_count() + kLanes);
    last_ = frame.take<T>(strip.query_count() + kLanes);
    column_ = frame.take<T>(strip.key_count() + kLanes);
    for (Index x = 0, i = 0; i < strip.query_count() + kLanes; ++x) {
      const Index at = std::min(strip.query[2] + x, strip.query[2] + strip.queries[2] - 1);
      const Index begin = plan.axis(2).begin(at) - strip.key[2], end = plan.axis(2).end(at) - strip.key[2];
      for (Index r = 0; r < query_rows_ && i < strip.query_count() + kLanes; ++r, ++i) {
        first_[i] = T(begin);
        last_[i] = T(end - 1);
      }
    }
    key_row_ = frame.take<std::int32_t>(strip.key_count());
    query_row_ = frame.take<std::int32_t>(strip.query_count());

    // 1 where a row of queries sees a row of keys, each row of the tables repeated so that a batch may start anywhere.
    query_pitch_ = query_rows_ + kLanes;
    key_pitch_ = key_rows_ + kLanes;
    for (Index j = 0, x = 0, row = 0; j < strip.key_count() + kLanes; ++j) {
      column_[j] = T(x);
      if (j < strip.key_count()) key_row_[j] = std::int32_t(row);
      if (++row == key_rows_) row = 0, ++x;
    }
    for (Index i = 0, row = 0; i < strip.query_count(); ++i, row = row + 1 == query_rows_ ? 0 : row + 1)
      query_row_[i] = std::int32_t(row);
    by_key_ = frame.take<T>(key_rows_ * query_pitch_);
    by_query_ = frame.take<T>(query_rows_ * key_pitch_);
    for (Index r = 0; r < query_rows_; ++r)
      for (Index s = 0; s < key_rows_; ++s) {
        const std::array<Index, 2> query{strip.query[0] + r / strip.queries[1], strip.query[1] + r % strip.queries[1]};
        const std::array<Index, 2> key{strip.key[0] + s / strip.keys[1], strip.key[1] + s % strip.keys[1]};
        bool sees = true;
        for (std::size_t a = 0; a < 2; ++a)
          sees = sees && key[a] >= plan.axis(a).begin(query[a]) && key[a] < plan.axis(a).end(query[a]);
        for (Index lane = r; lane < query_pitch_; lane += query_rows_) by_key_[s * query_pitch_ + lane] = T(sees);
        for (Index lane = s; lane < key_pitch_; lane += key_rows_) by_query_[r * key_pitch_ + lane] = T(sees);
        every_row_ = every_row_ && sees;
      }
  }

  template <Real U, Lanes L>
  HEED_INLINE simd::Mask<U> operator()(const At<U, L>& at) const {
    const simd::Batch<U> hidden(U(0));
    if constexpr (L == Lanes::kQueries) {
      const simd::Batch<U> column(column_[at.first_key]);
      return simd::load(first_ + at.first_query) <= column && column <= simd::load(last_ + at.first_query) &&
             simd::load(by_key_ + key_row_[at.first_key] * query_pitch_ + query_row_[at.first_query]) != hidden;
    } else {
      const simd::Batch<U> column = simd::load(column_ + at.first_key);
      return column >= simd::Batch<U>(first_[at.first_query]) && column <= simd::Batch<U>(last_[at.first_query]) &&
             simd::load(by_query_ + query_row_[at.first_query] * key_pitch_ + key_row_[at.first_key]) != hidden;
    }
  }

  Run run(const QueryTile& tile, Index key) const {
    const Index some_begin = Index(first_[tile.first]) * key_rows_;
    const Index some_end = (Index(last_[tile.last - 1]) + 1) * key_rows_;
    if (key < some_begin) return {Seen::kNone, some_begin};
    if (key >= some_end) return {Seen::kNone, kEndless};
    if (every_row_) {
      const Index all_begin = Index(first_[tile.last - 1]) * key_rows_;
      const Index all_end = (Index(last_[tile.first]) + 1) * key_rows_;
      if (key >= all_begin && key < all_end) return {Seen::kAll, all_end};
      if (key < all_begin && all_begin < all_end) return {Seen::kSome, all_begin};
    }
    // Up to where a batch of the tile begins or stops to see columns.
    Index end = some_end;
    for (Index i = tile.first; i < tile.last; i += kLanes) {
      const Index begin = Index(first_[i]) * key_rows_;
      const Index stop = (Index(last_[std::min(i + kLanes, tile.last) - 1]) + 1) * key_rows_;
      if (begin > key) end = std::min(end, begin);
      if (stop > key) end = std::min(end, stop);
    }
    return {Seen::kSome, end};
  }

  bool sees(Index query, Index key) const {
    return first_[query] <= column_[key] && column_[key] <= last_[query] &&
           by_key_[key_row_[key] * query_pitch_ + query_row_[query]] != T(0);
  }
  /// Keys that the query may see are in [first_key, last_key].
  Index first_key(Index query) const { return Index(first_[query]) * key_rows_; }
  Index last_key(Index query) const { return (Index(last_[query]) + 1) * key_rows_ - 1; }

 private:
  static constexpr Index kLanes = simd::kLanes<T>;

  Index query_rows_, key_rows_, query_pitch_ = 0, key_pitch_ = 0;
  T *first_, *last_, *column_;  // columns that a query sees, by query; the column of a key
  T *by_key_, *by_query_;
  std::int32_t *key_row_, *query_row_;
  bool every_row_ = true;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
