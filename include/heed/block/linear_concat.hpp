// SPDX-License-Identifier: Apache-2.0
// linear_concat: the tokens of two sources, each through a layer, as one sequence.
#pragma once

#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// a(x) and behind it b(y) along the tokens, each written where it belongs: what gives one attention the keys and the
/// values of several sources without a copy of either. x (B, N, Ca), y (B, M, Cb), a.weight (C, Ca), b.weight (C, Cb);
/// the result (B, N + M, C) in x's type; N and M from 0. Throws heed::Error for shapes that do not fit.
/// Gradient: of the blocks that it is made of.
template <Device D, Storage T, Operand X, Operand Y>
auto linear_concat(const D& device, const Linear<T>& a, const X& x, const Linear<T>& b, const Y& y) {
  static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3, "heed::linear_concat: x and y are (B, tokens, C)");
  const auto first = sizes_of(x);
  const auto second = sizes_of(y);
  const Index width = a.weight.dimension(0);
  require(first[0] == second[0], "linear_concat", "both sources must have one batch size, got shapes ",
          shape_text(first), " and ", shape_text(second));
  require(b.weight.dimension(0) == width, "linear_concat", "both weights must have the same number of rows, got ",
          width, " and ", b.weight.dimension(0));
  auto out = make_output<OperandScalar<X>, 3>("linear_concat", {first[0], first[1] + second[1], width}, x, y);
  a(device, x, view(out).slice(1, 0, first[1]));
  b(device, y, view(out).slice(1, first[1], second[1]));
  return out;
}

}  // namespace heed::inline HEED_ISA
