// SPDX-License-Identifier: Apache-2.0
// relative_shift: scores by distance, as scores of pairs.
#pragma once

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// x (B, H, N, L), whose column c belongs to keys at j - p_i = c - M from query i, as (B, H, N, M), where p_i = i + M -
/// N: element (i, j) is x(i, M + j - p_i). A view of x, contiguous, whose rows it moves one against the next; x must
/// outlive it. With L = M + N every element is the one that it should be (column 0, of a distance that no pair has, is
/// not read). With L = M + 1 this holds for j <= p_i; what is behind is an element of the next query, to be hidden by
/// causal().
///
/// Gradient: of the blocks that it is made of: that of a view, at the same place.
template <Operand X>
auto relative_shift(const X& x_like, Index keys) {
  static_assert(kOperandRank<X> == 4, "heed::relative_shift: x is (B, H, N, L)");
  const auto x = view(x_like);
  const Index queries = sizes_of(x)[2], columns = sizes_of(x)[3];
  require(columns == keys + 1 || columns == keys + queries, "relative_shift",
          "x must have M + 1 or M + N columns with M = ", keys, " and N = ", queries, ", got shape ",
          shape_text(sizes_of(x)));
  if (keys == 0 || queries == 0) return x.slice(3, 0, keys);
  // Without its first N elements the matrix in rows of one column less is the one wanted.
  return x.merge(2).slice(2, queries, queries * (columns - 1)).split(2, columns - 1).slice(3, 0, keys);
}

/// Throws heed::Error in the name of an operator unless mem (B, Lm, C) goes before x (B, N, C).
inline void check_memory(std::string_view where, const std::array<Index, 3>& x, const std::array<Index, 3>& mem) {
  require(mem[0] == x[0] && mem[2] == x[2], where, "mem must have shape (B, Lm, C) = (", x[0], ", Lm, ", x[2],
          "), got ", shape_text(mem));
}

}  // namespace heed::inline HEED_ISA
