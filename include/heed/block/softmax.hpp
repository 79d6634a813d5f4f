// SPDX-License-Identifier: Apache-2.0
// softmax over the last axis.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/softmax_rows.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr Index kSoftmaxUnit = 4096;  // elements that make a unit of work, a few microseconds

template <class D, class UX, class UO, int Rank>
void softmax_rows(const D& device, const View<const UX, Rank>& x, const View<UO, Rank>& out) {
  using T = heed::Compute<UX>;
  require_shape("softmax", "out", out.sizes, x.sizes);
  if (x.count() == 0) return;
  const kernel::Rows from(x);
  const kernel::Rows to(out);
  const Index width = from.width(), band = std::max<Index>(1, kSoftmaxUnit / width);
  parallel_for(device, (from.count() + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index r = unit * band; r < std::min(from.count(), (unit + 1) * band); ++r) {
      T* const result = kernel::packed_target<T>(to.row(r), to.stride(), made);
      kernel::softmax_row<T>(kernel::packed<T>(from.row(r), from.stride(), width, copy), width, result);
      kernel::put<T>(result, width, to.row(r), to.stride());
    }
  });
}

template <class D, class UP, class UG, class UDX, int Rank>
void softmax_rows_backward(const D& device, const View<const UP, Rank>& p, const View<const UG, Rank>& d_out,
                           const View<UDX, Rank>& d_x) {
  using T = heed::Compute<UP>;
  require_shape("softmax_backward", "d_out", d_out.sizes, p.sizes);
  if (!d_x.data) return;
  require_shape("softmax_backward", "d_x", d_x.sizes, p.sizes);
  if (p.count() == 0) return;
  const kernel::Rows from(p);
  const kernel::Rows incoming(d_out);
  const kernel::Rows to(d_x);
  const Index width = from.width(), band = std::max<Index>(1, kSoftmaxUnit / width);
  parallel_for(device, (from.count() + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const gradient_copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index r = unit * band; r < std::min(from.count(), (unit + 1) * band); ++r) {
      T* const sum = kernel::packed_sum<T>(to.row(r), to.stride(), width, made);
      kernel::softmax_row_backward<T>(kernel::packed<T>(from.row(r), from.stride(), width, copy),
                                      kernel::packed<T>(incoming.row(r), incoming.stride(), width, gradient_copy),
                                      width, sum);
      kernel::put<T>(sum, width, to.row(r), to.stride());
    }
  });
}

}  // namespace detail

/// out = e^x / sum of e^x over the last axis: x (..., C), out of its shape and type; it may be x. A row of -infinity
/// alone gives 0.
///
/// Any rank, strides and storage. Throws heed::Error for shapes that do not fit. Time O(rows * C), memory O(C) a
/// thread; a row has the same bits in any batch and for any device.
/// Gradient: to x, by softmax_backward.
template <Device D, TensorLike X, TensorLike O>
void softmax(const D& device, const X& x, O&& out) {
  detail::softmax_rows(device, const_view(x), view(out));
}
template <Device D, Operand X>
auto softmax(const D& device, const X& x) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("softmax", sizes_of(x), x);
  softmax(device, x, out);
  return out;
}
template <Operand X>
auto softmax(const X& x) {
  return softmax(DeviceRef(), x);
}

/// Adds the gradient of softmax to d_x, given its result p = softmax(x); nothing if d_x has no data.
template <Device D, TensorLike P, TensorLike G, TensorLike DX>
void softmax_backward(const D& device, const P& p, const G& d_out, DX&& d_x) {
  detail::softmax_rows_backward(device, const_view(p), const_view(d_out), view(d_x));
}

}  // namespace heed::inline HEED_ISA
