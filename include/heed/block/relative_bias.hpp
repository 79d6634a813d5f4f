// SPDX-License-Identifier: Apache-2.0
// relative_bias: a table of values per head, looked up by the bucket of a relative position.
#pragma once

#include <cstdint>

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/toeplitz.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline void check_relative_bias(Index table_rows, const View<const std::int32_t, 1>& buckets, Index queries,
                                Index keys) {
  constexpr std::string_view where = "relative_bias";
  require(queries >= 0 && keys >= 0, where, "N and M must be 0 or more, got ", queries, " and ", keys);
  const Index distances = queries == 0 || keys == 0 ? 0 : queries + keys - 1;
  require(buckets.size(0) == distances, where, "buckets must have shape (N + M - 1) = (", distances, "), got ",
          shape_text(buckets.sizes));
  for (Index x = 0; x < distances; ++x)
    require(buckets(x) >= 0 && buckets(x) < table_rows, where, "bucket ", buckets(x),
            " is outside of the table's 0 .. ", table_rows - 1);
}

}  // namespace detail

/// out[h, i, j] = table[buckets[j - i + N - 1], h] for N queries and M keys: table (rows, H) of any strides, float or
/// double, buckets (N + M - 1) int32 within the table, by relative position from -(N - 1) to M - 1; out (H, N, M),
/// contiguous. N or M = 0: an empty tensor. Throws heed::Error for shapes and buckets that do not fit. Time O(H N M).
///
/// Gradient: of table, relative_bias_backward.
template <Device D, Real T>
void relative_bias(const D& device, const View<const T, 2>& table, const View<const std::int32_t, 1>& buckets,
                   const View<T, 3>& out) {
  const Index heads = out.size(0), queries = out.size(1), keys = out.size(2);
  detail::check_relative_bias(table.size(0), buckets, queries, keys);
  require(heads == table.size(1), "relative_bias", "out must have shape (H, N, M) with H = ", table.size(1), ", got ",
          shape_text(out.sizes));
  parallel_for(device, heads, [&](Index h) {
    ScratchFrame frame;
    T* values = frame.take<T>(buckets.size(0));
    for (Index x = 0; x < buckets.size(0); ++x) values[x] = table(buckets(x), h);
    kernel::spread_diagonals(values, queries, keys, out.at(h), out.stride(1));
  });
}
template <Device D, TensorLike X>
auto relative_bias(const D& device, const X& table, const View<const std::int32_t, 1>& buckets, Index queries,
                   Index keys) {
  using T = ScalarOf<X>;
  detail::check_relative_bias(const_view(table).size(0), buckets, queries, keys);
  Tensor<T, 3> out(const_view(table).size(1), queries, keys);
  relative_bias(device, View<const T, 2>(const_view(table)), buckets, View<T, 3>(view(out)));
  return out;
}

/// The gradient of relative_bias, added to d_table: for each head the sums of the diagonals of d_out, then of the
/// diagonals of each bucket, in the order of the positions. Null data is not wanted. The same bits for any number of
/// threads. Time O(H N M).
template <Device D, Real T>
void relative_bias_backward(const D& device, const View<const std::int32_t, 1>& buckets, const View<const T, 3>& d_out,
                            const View<T, 2>& d_table) {
  if (!d_table.data || d_out.count() == 0) return;
  const Index count = buckets.size(0);
  parallel_for(device, d_out.size(0), [&](Index h) {
    ScratchFrame frame;
    T* run = frame.take<T>(count);
    T* sums = frame.take<T>(count);
    std::fill_n(sums, count, T(0));
    kernel::sum_diagonals(d_out.at(h), d_out.stride(1), d_out.size(1), d_out.size(2), run, sums);
    for (Index x = 0; x < count; ++x) d_table(buckets(x), h) += sums[x];
  });
}

}  // namespace heed::inline HEED_ISA
