// SPDX-License-Identifier: Apache-2.0
// unit_range: a tensor's values brought to [0, 1].
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class T>
struct Extremes {
  T low = 0, high = 0;
  Index low_row = 0, low_column = 0, high_row = 0, high_column = 0;  // the first of equal ones
};

template <class T, int Rank>
Extremes<T> extremes(const kernel::Rows<const T, Rank>& rows) {
  Extremes<T> e;
  e.low = e.high = *rows.row(0);
  for (Index r = 0; r < rows.count(); ++r)
    for (Index c = 0; c < rows.width(); ++c) {
      const T x = rows.row(r)[c * rows.stride()];
      if (x < e.low) e.low = x, e.low_row = r, e.low_column = c;
      if (x > e.high) e.high = x, e.high_row = r, e.high_column = c;
    }
  return e;
}

}  // namespace detail

/// out = (x - min) / (max - min), with both over the whole tensor; 0 where all elements are equal. Any rank and
/// strides, float or double; an empty tensor gives an empty one. Throws heed::Error for another shape of out. Two
/// passes over x, on one thread.
///
/// Gradient: of x, unit_range_backward; what the extremes get goes to the first of equal ones.
template <TensorLike X, TensorLike O>
void unit_range(const X& x_like, O&& out_like) {
  using T = ScalarOf<X>;
  static_assert(Real<T> && std::same_as<ScalarOf<O>, T>, "heed::unit_range: x and out are both float or both double");
  const auto x = const_view(x_like);
  const auto out = view(out_like);
  require_shape("unit_range", "out", out.sizes, x.sizes);
  if (x.count() == 0) return;
  const kernel::Rows from(x);
  const kernel::Rows to(out);
  const auto e = detail::extremes(from);
  const T range = e.high - e.low;
  for (Index r = 0; r < from.count(); ++r)
    for (Index c = 0; c < from.width(); ++c)
      to.row(r)[c * to.stride()] = range == 0 ? T(0) : (from.row(r)[c * from.stride()] - e.low) / range;
}
template <TensorLike X>
auto unit_range(const X& x) {
  Tensor<ScalarOf<X>, kRankOf<X>> out(const_view(x).sizes);
  unit_range(x, out);
  return out;
}

/// The gradient of unit_range, added to d_x; nothing if that has no data.
template <Real T, int Rank>
void unit_range_backward(const View<const T, Rank>& x, const View<const T, Rank>& d_out, const View<T, Rank>& d_x) {
  if (!d_x.data || x.count() == 0) return;
  const kernel::Rows from(x);
  const kernel::Rows incoming(d_out);
  const kernel::Rows to(d_x);
  const auto e = detail::extremes(from);
  const T range = e.high - e.low;
  if (range == 0) return;
  double d_low = 0, d_high = 0;
  for (Index r = 0; r < from.count(); ++r)
    for (Index c = 0; c < from.width(); ++c) {
      const T d = incoming.row(r)[c * incoming.stride()] / range, y = (from.row(r)[c * from.stride()] - e.low) / range;
      to.row(r)[c * to.stride()] += d;
      d_low += double(d) * (double(y) - 1);
      d_high -= double(d) * double(y);
    }
  to.row(e.low_row)[e.low_column * to.stride()] += T(d_low);
  to.row(e.high_row)[e.high_column * to.stride()] += T(d_high);
}

}  // namespace heed::inline HEED_ISA
