// SPDX-License-Identifier: Apache-2.0
// Copies: tensors one behind the other, and one tensor in row-major order.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <int Axis, Operand First, Operand... Rest>
auto concat_sizes(const First& first, const Rest&... rest) {
  constexpr int rank = kOperandRank<First>;
  static_assert(((kOperandRank<Rest> == rank) && ...), "heed::concat: all tensors must have the same number of axes");
  static_assert(Axis >= 0 && Axis < rank, "heed::concat: there is no such axis");
  auto sizes = sizes_of(first);
  [[maybe_unused]] const auto take = [&](const auto& more) {
    for (std::size_t a = 0; a < std::size_t(rank); ++a) {
      if (a == std::size_t(Axis)) {
        sizes[a] += more[a];
        continue;
      }
      require(sizes[a] == more[a] || sizes[a] == 1 || more[a] == 1, "concat", "shapes ", shape_text(sizes), " and ",
              shape_text(more), " do not agree in axis ", a);
      if (sizes[a] == 1) sizes[a] = more[a];
    }
  };
  (take(sizes_of(rest)), ...);
  return sizes;
}

// The place of a part in the whole, from `start` on, which is moved behind it.
template <int Axis, class T, int Rank>
View<T, Rank> concat_place(const View<T, Rank>& whole, const std::array<Index, std::size_t(Rank)>& part, Index& start) {
  const Index length = part[std::size_t(Axis)];
  start += length;
  return whole.slice(Axis, start - length, length);
}

}  // namespace detail

/// Tensors of one rank, one behind the other along an axis: concat<1>(a, b, ...). In every other axis they have the
/// same size, or 1, which is broadcast: a key (1, 1, C) behind those of every batch. Any strides and storage; the
/// result has the first one's type. Throws heed::Error for shapes that do not fit. Time O(result).
///
/// Gradient: of all parts, concat_backward: each one's own place, summed over the axes that were broadcast.
template <int Axis, TensorLike O, Device D, TensorLike... X>
void concat_into(const D& device, O&& out, const X&... x) {
  const auto target = view(out);
  const auto sizes = detail::concat_sizes<Axis>(x...);
  for (std::size_t a = 0; a < sizes.size(); ++a)
    require(target.sizes[a] == sizes[a] || (sizes[a] == 1 && a != std::size_t(Axis)), "concat", "out must have shape ",
            shape_text(sizes), ", got ", shape_text(target.sizes));
  Index start = 0;
  const auto put = [&](const auto& part) {
    const auto place = detail::concat_place<Axis>(target, part.sizes, start);
    kernel::copy<kernel::Write::kAssign>(device, part.broadcast(place.sizes, "concat", "a part"), place);
  };
  (put(const_view(x)), ...);
}
template <int Axis, Device D, TensorLike First, TensorLike... Rest>
auto concat(const D& device, const First& first, const Rest&... rest) {
  Tensor<ScalarOf<First>, kRankOf<First>> out;
  out.resize(detail::concat_sizes<Axis>(first, rest...));
  concat_into<Axis>(device, out, first, rest...);
  return out;
}
template <int Axis, Operand First, Operand... Rest>
auto concat(const First& first, const Rest&... rest) {
  return concat<Axis>(DeviceRef(), first, rest...);
}

/// The gradients of concat, added to the views of the parts; one of null data is not wanted, but has its part's sizes.
template <int Axis, Device D, Real T, int Rank, class... Parts>
void concat_backward(const D& device, const View<const T, Rank>& d_out, const Parts&... d_parts) {
  Index start = 0;
  const auto get = [&](const View<T, Rank>& d_part) {
    const auto d_place = detail::concat_place<Axis>(d_out, d_part.sizes, start);
    if (d_part.data)
      kernel::copy<kernel::Write::kAdd>(device, d_place, d_part.broadcast(d_place.sizes, "concat", "a part"));
  };
  (get(d_parts), ...);
}

/// Every element of out becomes `value`: of a tensor, or of a variable that nothing has read yet.
///
/// No gradient: the result depends on no tensor.
template <Device D, Operand O>
void fill(const D& device, O&& out, double value) {
  const auto target = writable(out);
  using U = typename decltype(target)::Scalar;
  const U element = static_cast<U>(value);
  View<const U, decltype(target)::rank> everywhere(&element, target.sizes);
  everywhere.strides.fill(0);
  kernel::copy<kernel::Write::kAssign>(device, everywhere, target);
}

/// A copy in row-major order, whatever the strides of x: contiguous(heads.permute({0, 2, 1, 3})).merge(2).
///
/// Gradient: of x, copied back.
template <Device D, TensorLike X>
auto contiguous(const D& device, const X& x) {
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(const_view(x).sizes);
  kernel::copy<kernel::Write::kAssign>(device, const_view(x), view(out));
  return out;
}
template <Operand X>
auto contiguous(const X& x) {
  return contiguous(DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
