// SPDX-License-Identifier: Apache-2.0
// The largest element over axes.
#pragma once

#include "heed/block/reduce.hpp"
#include "heed/kernel/maximum.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <std::size_t Rank, std::size_t Count>
std::array<Index, Rank> maximum_sizes(const std::array<Index, Rank>& sizes, const std::array<int, Count>& axes) {
  const auto result = reduced_sizes("max", sizes, axes);
  for (const int axis : axes)
    require(sizes[std::size_t(axis)] > 0, "max", "axis ", axis, " of a tensor of shape ", shape_text(sizes),
            " has no elements to choose from");
  return result;
}

}  // namespace detail

/// out = the largest of x over some axes, which stay with size 1: max(x, {2, 3}); NaN if there is one. Any strides and
/// storage; the result has x's type. Throws heed::Error for an axis that is not there or is empty. The same bits for
/// any device.
///
/// Gradient: of x, max_backward: to the first of the largest, in row-major order.
template <Device D, TensorLike X, std::size_t Count>
auto max(const D& device, const X& x, const int (&axes)[Count]) {
  const auto input = const_view(x);
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(detail::maximum_sizes(input.sizes, std::to_array(axes)));
  kernel::maximum<Compute<ScalarOf<X>>>(device, input, view(out).broadcast(input.sizes, "max", "out"));
  return out;
}
template <Operand X, std::size_t Count>
auto max(const X& x, const int (&axes)[Count]) {
  return max(DeviceRef(), x, axes);
}

/// The gradient of max, given its result, added to d_x; nothing if that has no data.
template <Device D, Real T, int Rank>
void max_backward(const D& device, const View<const T, Rank>& x, const View<const T, Rank>& out,
                  const View<const T, Rank>& d_out, const View<T, Rank>& d_x) {
  if (!d_x.data) return;
  kernel::maximum_backward<T>(device, x, out.broadcast(x.sizes, "max", "out"), d_out.broadcast(x.sizes, "max", "d_out"),
                              d_x);
}

}  // namespace heed::inline HEED_ISA
