// SPDX-License-Identifier: Apache-2.0
// lower_triangle: a matrix without what is above its diagonal.
#pragma once

#include <algorithm>

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Calls f(row, count) for each row with how many of its elements are on or below the diagonal.
template <class F>
void for_each_triangle_row(Index rows, Index columns, Index diagonal, const F& f) {
  for (Index i = 0; i < rows; ++i) f(i, std::clamp<Index>(i + 1 + diagonal, 0, columns));
}

}  // namespace detail

/// out(i, j) = x(i, j) where j <= i + diagonal, else 0: x (N, M), out as x; diagonal -1 leaves the diagonal itself out.
/// What is above takes no part, NaN included. Any strides and storage; memory speed.
///
/// Gradient: of x, lower_triangle_backward; 0 above the diagonal.
template <Device D, TensorLike X, TensorLike O>
void lower_triangle(const D& device, const X& x, Index diagonal, O&& out) {
  const auto from = const_view(x);
  const auto to = view(out);
  static_assert(kRankOf<X> == 2 && kRankOf<O> == 2, "heed::lower_triangle: x is a matrix");
  require_shape("lower_triangle", "out", to.sizes, from.sizes);
  detail::for_each_triangle_row(from.size(0), from.size(1), diagonal, [&](Index i, Index count) {
    const auto row = to.select(0, i);
    kernel::copy<kernel::Write::kAssign>(device, from.select(0, i).slice(0, 0, count), row.slice(0, 0, count));
    for (Index j = count; j < row.size(0); ++j) row(j) = ScalarOf<O>(0);
  });
}
template <Device D, Operand X>
auto lower_triangle(const D& device, const X& x, Index diagonal = 0) {
  auto out = make_output<OperandScalar<X>, 2>("lower_triangle", sizes_of(x), x);
  lower_triangle(device, x, diagonal, out);
  return out;
}

/// The gradient of lower_triangle, added to d_x; nothing if d_x has no data.
template <Device D, Real T>
void lower_triangle_backward(const D& device, const View<const T, 2>& d_out, Index diagonal, const View<T, 2>& d_x) {
  if (!d_x.data) return;
  detail::for_each_triangle_row(d_x.size(0), d_x.size(1), diagonal, [&](Index i, Index count) {
    kernel::copy<kernel::Write::kAdd>(device, d_out.select(0, i).slice(0, 0, count),
                                      d_x.select(0, i).slice(0, 0, count));
  });
}

}  // namespace heed::inline HEED_ISA
