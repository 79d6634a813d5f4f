// SPDX-License-Identifier: Apache-2.0
// masked_fill: a number in the place of what a mask hides.
#pragma once

#include <cstdint>

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

/// out = mask != 0 ? x : value, element by element: x of any rank, mask std::uint8_t of that rank with every axis full
/// or 1, to broadcast: `view(tokens).split(1, 1)` hides the rows of x (B, N, C) by a mask of tokens (B, N). What is
/// hidden takes no part, NaN included. Any strides and storage; out has x's type. Throws heed::Error for shapes that do
/// not fit.
///
/// Gradient: of x, masked_fill_backward; 0 where it is hidden.
template <Device D, TensorLike X, TensorLike M, TensorLike O>
void masked_fill(const D& device, const X& x, const M& mask, double value, O&& out) {
  using T = Compute<ScalarOf<X>>;
  static_assert(kRankOf<M> == kRankOf<X> && std::same_as<ScalarOf<M>, std::uint8_t>,
                "heed::masked_fill: the mask holds std::uint8_t and has the axes of x");
  const auto to = view(out);
  require_shape("masked_fill", "out", to.sizes, const_view(x).sizes);
  kernel::elementwise<kernel::Write::kAssign, T>(
      device,
      [filler = simd::Batch<T>(T(value))](auto element, auto shown) {
        return simd::select(shown != simd::Batch<T>(T(0)), element, filler);
      },
      to, const_view(x), const_view(mask).broadcast(to.sizes, "masked_fill", "the mask"));
}
template <Device D, Operand X, TensorLike M>
auto masked_fill(const D& device, const X& x, const M& mask, double value) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("masked_fill", sizes_of(x), x);
  masked_fill(device, x, mask, value, out);
  return out;
}
template <Operand X, TensorLike M>
auto masked_fill(const X& x, const M& mask, double value) {
  return masked_fill(DeviceRef(), x, mask, value);
}

/// The gradient of masked_fill, added to d_x; nothing if d_x has no data.
template <Device D, Real T, int Rank>
void masked_fill_backward(const D& device, const View<const std::uint8_t, Rank>& mask, const View<const T, Rank>& d_out,
                          const View<T, Rank>& d_x) {
  if (!d_x.data) return;
  kernel::elementwise<kernel::Write::kAdd, T>(
      device,
      [](auto d, auto shown) {
        const simd::Batch<T> zero(T(0));
        return simd::select(shown != zero, d, zero);
      },
      d_x, d_out, mask.broadcast(d_x.sizes, "masked_fill", "the mask"));
}

/// A mask (.., M) whose rows that show nothing show everything instead: for a softmax that falls back to the plain
/// mean.
template <TensorLike M>
auto visible_or_all(const M& mask) {
  static_assert(std::same_as<ScalarOf<M>, std::uint8_t>, "heed::visible_or_all: a mask holds std::uint8_t");
  const kernel::Rows from(const_view(mask));
  Tensor<std::uint8_t, kRankOf<M>> out;
  out.resize(const_view(mask).sizes);
  std::uint8_t* to = out.data();
  for (Index r = 0; r < from.count() && from.width() > 0; ++r, to += from.width()) {
    const std::uint8_t* const row = from.row(r);
    bool any = false;
    for (Index j = 0; j < from.width(); ++j) any |= (to[j] = row[j * from.stride()]) != 0;
    if (!any) std::fill_n(to, from.width(), std::uint8_t(1));
  }
  return out;
}

/// The masks of two sequences, (B, N) and (B, M), as that of one behind the other, (B, N + M). Throws heed::Error for
/// two batch sizes.
template <TensorLike A, TensorLike B>
Tensor<std::uint8_t, 2> joined_mask(const A& a, const B& b) {
  const auto first = const_view(a), second = const_view(b);
  require(first.size(0) == second.size(0), "joined_mask", "masks of shapes ", shape_text(first.sizes), " and ",
          shape_text(second.sizes), " must have one batch size");
  Tensor<std::uint8_t, 2> joined(first.size(0), first.size(1) + second.size(1));
  detail::copy_elements(first, view(joined).slice(1, 0, first.size(1)));
  detail::copy_elements(second, view(joined).slice(1, first.size(1), second.size(1)));
  return joined;
}

}  // namespace heed::inline HEED_ISA
