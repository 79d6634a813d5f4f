// SPDX-License-Identifier: Apache-2.0
// blend: a weighted mean of two tensors, element by element.
#pragma once

#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// out = weight * a + (1 - weight) * b: a, b and out of one shape, weight of as many axes, every one full or 1. Any
/// strides and storage; out has a's type. Throws heed::Error for shapes that do not fit. One pass over memory.
///
/// Gradient: of weight, a and b, blend_backward; that of weight summed over the axes that were broadcast.
template <Device D, TensorLike W, TensorLike A, TensorLike B, TensorLike O>
void blend(const D& device, const W& weight, const A& a, const B& b, O&& out) {
  using T = Compute<ScalarOf<A>>;
  static_assert(kRankOf<W> == kRankOf<A> && kRankOf<B> == kRankOf<A> && kRankOf<O> == kRankOf<A>,
                "heed::blend: weight, a, b and out have one rank");
  const auto to = view(out);
  require_shape("blend", "b", const_view(b).sizes, const_view(a).sizes);
  require_shape("blend", "out", to.sizes, const_view(a).sizes);
  kernel::elementwise<kernel::Write::kAssign, T>(
      device, [](auto w, auto x, auto y) { return w * x + (simd::Batch<T>(T(1)) - w) * y; }, to,
      const_view(weight).broadcast(to.sizes, "blend", "weight"), const_view(a), const_view(b));
}
template <Device D, Operand W, Operand A, Operand B>
auto blend(const D& device, const W& weight, const A& a, const B& b) {
  auto out = make_output<OperandScalar<A>, kOperandRank<A>>("blend", sizes_of(a), weight, a, b);
  blend(device, weight, a, b, out);
  return out;
}
template <Operand W, Operand A, Operand B>
auto blend(const W& weight, const A& a, const B& b) {
  return blend(DeviceRef(), weight, a, b);
}

/// The gradients of blend, added; one of null data is not wanted.
template <Device D, Real T, int Rank>
void blend_backward(const D& device, const View<const T, Rank>& weight, const View<const T, Rank>& a,
                    const View<const T, Rank>& b, const View<const T, Rank>& d_out, const View<T, Rank>& d_weight,
                    const View<T, Rank>& d_a, const View<T, Rank>& d_b) {
  using kernel::Write;
  const auto w = weight.broadcast(d_out.sizes, "blend", "weight");
  if (d_weight.data)
    kernel::elementwise<Write::kAdd, T>(
        device, [](auto d, auto x, auto y) { return d * (x - y); },
        d_weight.broadcast(d_out.sizes, "blend", "d_weight"), d_out, a, b);
  if (d_a.data)
    kernel::elementwise<Write::kAdd, T>(
        device, [](auto d, auto by) { return d * by; }, d_a, d_out, w);
  if (d_b.data)
    kernel::elementwise<Write::kAdd, T>(
        device, [](auto d, auto by) { return d * (simd::Batch<T>(T(1)) - by); }, d_b, d_out, w);
}

}  // namespace heed::inline HEED_ISA
