// SPDX-License-Identifier: Apache-2.0
// A learned bias per head and bucket of relative positions, without a tensor of queries by keys.
#pragma once

#include <memory>

#include "heed/attention/score/modifier.hpp"
#include "heed/attention/score/relative_buckets.hpp"

namespace heed::inline HEED_ISA {

/// The bias depends on j - p_i alone and stays the same beyond the farthest bucket's start.
template <class U>
class RelativePositionScore : public ScoreModifierBase {
 public:
  static constexpr bool kMayHide = false;
  static constexpr int kParameters = 1;

  RelativePositionScore(const View<const U, 2>& table, const RelativePositionOptions& options)
      : table_(table), heads_(table.size(1)) {
    constexpr std::string_view where = "relative_position";
    const RelativeBuckets buckets(options, where);
    require(table.size(0) == options.num_buckets, where, "the table must have shape (num_buckets, H) with ",
            options.num_buckets, " buckets, got ", shape_text(table.sizes));
    for (Index bucket = 0; bucket < table.size(0); ++bucket)
      for (Index h = 0; h < heads_; ++h)
        require(std::isfinite(simd::widen<double>(table(bucket, h))), where, "the table must be finite, element (",
                bucket, ", ", h, ") is ", table(bucket, h), "; visibility is for rules");
    // A batch that starts at either end lies in the far bucket with all its lanes.
    reach_ = buckets.farthest() + kMargin;
    const Index length = 2 * reach_ + kMargin;
    auto rows = std::make_shared<Rows>();
    rows->values.resize(2, heads_, length);
    rows->bucket.resize(std::size_t(length));
    for (Index x = 0; x < length; ++x) {
      const Index key_order = buckets(x - reach_), query_order = buckets(reach_ - x);
      rows->bucket[std::size_t(x)] = std::int32_t(query_order);
      for (Index h = 0; h < heads_; ++h) {
        rows->values(0, h, x) = table(key_order, h);
        rows->values(1, h, x) = table(query_order, h);
      }
    }
    rows_ = std::move(rows);
  }

  void check(const AttentionShape& shape) const {
    require(heads_ == shape.heads, "relative_position",
            "the table must have shape (num_buckets, H) with H = ", shape.heads, ", got ", heads_, " heads");
  }

  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    const Index length = rows_->values.dimension(2);
    const U* row = rows_->values.data();
    return s + at.of_distance(DistanceRows<U>{row, row + heads_ * length, length, reach_, table_.data});
  }

  template <class F>
  void for_each_parameter(F&& f) const {
    ScoreParameter parameter{
        table_.data, sizeof(U), {1, heads_, table_.size(0), 1}, {0, table_.stride(1), table_.stride(0), 0}};
    parameter.bucket = rows_->bucket.data();
    parameter.length = rows_->values.dimension(2);
    parameter.reach = reach_;
    f(parameter);
  }

 private:
  static constexpr Index kMargin = simd::kLanes<float>;

  struct Rows {
    Tensor<U, 3> values;               // (2, H, length)
    std::vector<std::int32_t> bucket;  // of the second row's elements
  };

  View<const U, 2> table_;  // its address alone is used later: for the gradient
  Index heads_, reach_ = 0;
  std::shared_ptr<const Rows> rows_;  // shared by copies
};

/// s + table[bucket(j - p_i), h] (Raffel et al. 2020, T5): the operator RelativePositionBias fused into the attention,
/// equal to bias(relative_position_bias) without its (H, N, M) memory. `table`: (num_buckets, H), finite; float,
/// double, bfloat16 or half; copied when the modifier is made. Positions are the attention's, p_i = i + M - N unless
/// SoftmaxOptions::position_offset says otherwise. T5 itself has scale = 1. Throws heed::Error for a table of another
/// shape or with a value that is not finite, and for options out of range. Cost: one load per batch of scores.
/// Gradient: of the score and the table.
template <Operand X>
auto relative_position(const X& table, const RelativePositionOptions& options = {}) {
  static_assert(kOperandRank<X> == 2, "heed::relative_position: the table has two axes, (num_buckets, H)");
  return RelativePositionScore<OperandScalar<X>>(values_of(table), options);
}

}  // namespace heed::inline HEED_ISA
