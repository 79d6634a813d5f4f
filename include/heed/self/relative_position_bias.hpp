// SPDX-License-Identifier: Apache-2.0
// RelativePositionBias: a learned bias per head and bucket of relative positions, as a tensor.
#pragma once

#include "heed/attention/score/relative_buckets.hpp"
#include "heed/block/relative_bias.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// bias[h, i, j] = table[bucket(j - (i + query_offset)), h], to be added to the scores of N queries and M keys.
///
///   RelativePositionBias<float> relative{{.num_buckets = 32, .max_distance = 128}, table};   // table (num_buckets, H)
///   const auto b = relative(N, M);                           // (H, N, M)
///   auto attend = softmax_attention(bias(b), {.scale = 1});
///
/// The score modifier relative_position(table, options) gives the same attention without the (H, N, M) tensor.
/// Options: bidirectional (true) uses half of the buckets for keys behind the query, otherwise those share bucket 0;
/// num_buckets (32), 1 or more, 2 or more when bidirectional; max_distance (128), above the number of distances that
/// have a bucket of their own (a quarter of num_buckets when bidirectional, half otherwise) and below 2^31. Throws
/// heed::Error for options out of range, another shape of the table, negative sizes. N or M = 0: an empty tensor. Cost
/// O(H N M) writes, O(N + M) buckets.
/// Source: Raffel et al. 2020 (T5), section 2.1; the buckets' edges are exact, see RelativeBuckets.
template <Real T>
struct RelativePositionBias {
  using Options = RelativePositionOptions;
  Options options = {};
  Tensor<T, 2> table;  ///< (num_buckets, H)

  template <class F>
  void for_each_parameter(F&& f) {
    f("table", table);
  }

  /// The bias (H, N, M); query i has position i + query_offset on the axis of the keys.
  Tensor<T, 3> operator()(Index queries, Index keys, Index query_offset = 0) const {
    return bias_of(table, queries, keys, query_offset);
  }
  /// The same as a variable: relative(tape, N, M).
  template <class Tape>
  requires requires(Tape& tape, const Tensor<T, 2>& x) { tape.operand(x); }
  auto operator()(Tape& tape, Index queries, Index keys, Index query_offset = 0) const {
    return bias_of(tape.operand(table), queries, keys, query_offset);
  }

  /// The bucket of every pair, (N, M).
  Tensor<std::int32_t, 2> buckets(Index queries, Index keys, Index query_offset = 0) const {
    const std::vector<std::int32_t> row = bucket_row(queries, keys, query_offset);
    Tensor<std::int32_t, 2> result(queries, keys);
    kernel::spread_diagonals(row.data(), queries, keys, result.data(), keys);
    return result;
  }

 private:
  static constexpr std::string_view kName = "relative_position_bias";

  template <Operand X>
  auto bias_of(const X& x, Index queries, Index keys, Index query_offset) const {
    const std::vector<std::int32_t> row = bucket_row(queries, keys, query_offset);
    require(table.dimension(0) == options.num_buckets, kName, "table must have shape (num_buckets, H) with ",
            options.num_buckets, " buckets, got ", shape_text(table.dimensions()));
    return relative_bias(Eigen::DefaultDevice(), x, View<const std::int32_t, 1>(row.data(), {Index(row.size())}),
                         queries, keys);
  }

  // Buckets of j - i for j - i from -(N - 1) to M - 1, shifted by the offset.
  std::vector<std::int32_t> bucket_row(Index queries, Index keys, Index query_offset) const {
    const RelativeBuckets bucket(options, kName);
    require(queries >= 0 && keys >= 0, kName, "N and M must be 0 or more, got ", queries, " and ", keys);
    std::vector<std::int32_t> row(queries == 0 || keys == 0 ? 0 : std::size_t(queries + keys - 1));
    for (std::size_t x = 0; x < row.size(); ++x) row[x] = std::int32_t(bucket(Index(x) - (queries - 1) - query_offset));
    return row;
  }
};

}  // namespace heed::inline HEED_ISA
