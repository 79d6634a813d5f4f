// SPDX-License-Identifier: Apache-2.0
// Sums and means over axes.
#pragma once

#include <algorithm>

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <std::size_t Rank, std::size_t Count>
std::array<Index, Rank> reduced_sizes(std::string_view where, std::array<Index, Rank> sizes,
                                      const std::array<int, Count>& axes) {
  for (const int axis : axes) {
    require(axis >= 0 && axis < int(Rank), where, "axis ", axis, " is none of a tensor of shape ", shape_text(sizes));
    sizes[std::size_t(axis)] = 1;
  }
  return sizes;
}

// out = factor * x summed over the axes on which the contiguous out has size 1.
template <class D, class U, class UO, int Rank>
void sum_into(const D& device, const View<const U, Rank>& x, double factor, const View<UO, Rank>& out) {
  using T = heed::Compute<U>;
  std::fill_n(out.data, out.count(), UO(0));
  if (x.count() > 0) kernel::copy<kernel::Write::kAdd>(device, x, out.broadcast(x.sizes, "sum", "out"));
  if (factor != 1)
    std::transform(out.data, out.data + out.count(), out.data, [&](UO total) { return UO(T(total) * T(factor)); });
}

}  // namespace detail

/// out = factor * x summed over some axes, which stay with size 1: sum(x, {2, 3}). Any strides and storage, computed in
/// double for double and in float for the rest, in runs of 128 in row-major order with the same bits for any number of
/// threads; the result has x's type. Over no elements the sum is 0. Throws heed::Error for an axis that is not there.
///
/// Gradient: of x, sum_backward.
template <Device D, TensorLike X, std::size_t Count>
auto sum(const D& device, const X& x, const int (&axes)[Count], double factor = 1) {
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(detail::reduced_sizes("sum", const_view(x).sizes, std::to_array(axes)));
  detail::sum_into(device, const_view(x), factor, view(out));
  return out;
}
template <Operand X, std::size_t Count>
auto sum(const X& x, const int (&axes)[Count], double factor = 1) {
  return sum(DeviceRef(), x, axes, factor);
}

/// The gradient of sum, factor * d_out at every element, added to d_x.
template <Device D, Real T, int Rank>
void sum_backward(const D& device, const View<const T, Rank>& d_out, double factor, const View<T, Rank>& d_x) {
  if (!d_x.data || d_x.count() == 0) return;
  kernel::elementwise<kernel::Write::kAdd, T>(device, kernel::Multiple<T>{T(factor)}, d_x,
                                              d_out.broadcast(d_x.sizes, "sum", "d_out"));
}

/// The mean over some axes, which stay with size 1: sum times 1 / the number of elements; over none it is NaN.
template <Device D, Operand X, std::size_t Count>
auto mean(const D& device, const X& x, const int (&axes)[Count]) {
  double count = 1;
  detail::reduced_sizes("mean", sizes_of(x), std::to_array(axes));
  for (const int axis : axes) count *= double(sizes_of(x)[std::size_t(axis)]);
  return sum(device, x, axes, 1 / count);
}
template <Operand X, std::size_t Count>
auto mean(const X& x, const int (&axes)[Count]) {
  return mean(Eigen::DefaultDevice(), x, axes);
}

}  // namespace heed::inline HEED_ISA
