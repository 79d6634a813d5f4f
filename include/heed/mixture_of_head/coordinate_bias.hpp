// SPDX-License-Identifier: Apache-2.0
// A bias of scores from the relative coordinates of positions, by a small network.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/embedding.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// bias(0, h, i, j) = t(index(i M + j), h) with t = fc2(relu(fc1(table))): table (T, 2), index (N M) int32 in 0 .. T -
/// 1, fc1.weight (F, 2), fc1.bias (F), fc2.weight (H, F), fc2.bias (H); result (1, H, N, M), a tensor or, beside a
/// variable x or of a variable table, a variable.
template <Real T>
struct CoordinateBias {
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "fc1.", fc1, "fc2.", fc2);
  }

  /// t of every pair, (N M, H), for CoordinateBias::by_pair.
  template <Device D, Operand C, Operand X>
  auto operator()(const D& device, const C& table_like, const View<const std::int32_t, 1>& index, const X& x) const {
    const auto table = parameter_with(table_like, x);
    return embedding(device, fc2(device, relu(device, fc1(device, table))), index);
  }
  /// The view of it as (1, H, N, M).
  template <Operand B>
  static auto by_pair(const B& values, Index keys) {
    return view(values).split(0, keys > 0 ? keys : 1).permute({2, 0, 1}).template promote<4>();
  }

  void check(std::string_view where, Index heads, Index pairs, const std::array<Index, 2>& table,
             const View<const std::int32_t, 1>& index) const {
    const Index inner = fc1.weight.dimension(0);
    check_linear(where, "cpb.fc1", fc1, 2, inner);
    check_linear(where, "cpb.fc2", fc2, inner, heads);
    require(table[1] == 2, where, "relative_coords_table must have shape (T, 2), got ", shape_text(table));
    require_shape(where, "relative_pos_index", index.sizes, std::array<Index, 1>{pairs});
  }
};

}  // namespace heed::inline HEED_ISA
