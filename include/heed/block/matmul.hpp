// SPDX-License-Identifier: Apache-2.0
// matmul: products of matrices, one for each index of the leading axes.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The sizes of a product: leading axes broadcast against each other, then (n, m) of (n, k) and (k, m).
template <Operand A, Operand B>
auto matmul_sizes(const A& a_like, const B& b_like) {
  constexpr int rank = kOperandRank<A>;
  static_assert(kOperandRank<B> == rank && rank >= 2, "heed::matmul: a (.., n, k) and b (.., k, m) have one rank");
  constexpr std::size_t last = std::size_t(rank) - 1;
  const auto a = sizes_of(a_like);
  const auto b = sizes_of(b_like);
  auto sizes = a;
  for (std::size_t axis = 0; axis + 1 < last; ++axis) {
    require(a[axis] == b[axis] || a[axis] == 1 || b[axis] == 1, "matmul", "leading axes of ", shape_text(a), " and ",
            shape_text(b), " must be equal or 1");
    sizes[axis] = a[axis] == 1 ? b[axis] : a[axis];
  }
  require(a[last] == b[last - 1], "matmul", "a (.., n, k) and b (.., k, m) must agree in k, got ", shape_text(a),
          " and ", shape_text(b));
  sizes[last] = b[last];
  return sizes;
}

template <class T, int Rank>
View<T, Rank> stretch_leading(View<T, Rank> x, const std::array<Index, std::size_t(Rank)>& sizes) {
  for (int axis = 0; axis < Rank - 2; ++axis)
    if (x.size(axis) != sizes[std::size_t(axis)]) {
      x.sizes[std::size_t(axis)] = sizes[std::size_t(axis)];
      x.strides[std::size_t(axis)] = 0;
    }
  return x;
}

// One product for each leading index; those that add to the same c follow each other.
template <kernel::Write write, class D, class UA, class UB, class UC, int Rank>
void multiply_matrices(const D& device, const View<const UA, Rank>& a, const View<const UB, Rank>& b,
                       const View<UC, Rank>& c) {
  if constexpr (Rank == 2) {
    // Written along memory: a result that lies by columns is made as its transpose, with the same sums.
    if (c.stride(0) == 1 && c.stride(1) != 1) {
      kernel::gemm<write>(device, b.permute({1, 0}), a, View<const UA, 1>(), c.permute({1, 0}));
    } else {
      kernel::gemm<write>(device, a, b.permute({1, 0}), View<const UB, 1>(), c);
    }
  } else {
    const Index count = c.size(0);
    const auto one = [&](const auto& on, Index i) {
      multiply_matrices<write>(on, a.select(0, i), b.select(0, i), c.select(0, i));
    };
    if (c.stride(0) == 0 || count < 2 * thread_count(device)) {
      for (Index i = 0; i < count; ++i) one(device, i);
    } else {
      parallel_for(device, count, [&](Index i) { one(Eigen::DefaultDevice(), i); });
    }
  }
}

}  // namespace detail

/// out(.., i, o) = sum over k of a(.., i, k) b(.., k, o): a (.., n, k), b (.., k, m), out (.., n, m), of one rank from
/// 2; leading axes of size 1 are broadcast. Any strides and storage, so that a transposed factor is
/// `view(x).permute(..)`; the result has a's type. Throws heed::Error for shapes that do not fit. Time O(n k m) for
/// each product; sums as kernel::gemm, the same bits for any number of threads.
///
/// Gradient: of both factors, matmul_backward, summed over the axes that were broadcast.
template <Device D, TensorLike A, TensorLike B, TensorLike O>
void matmul(const D& device, const A& a, const B& b, O&& out) {
  const auto sizes = detail::matmul_sizes(a, b);
  const auto target = view(out);
  require(target.sizes == sizes, "matmul", "out must have shape ", shape_text(sizes), ", got ",
          shape_text(target.sizes));
  if (target.count() == 0) return;
  detail::multiply_matrices<kernel::Write::kAssign>(device, detail::stretch_leading(const_view(a), sizes),
                                                    detail::stretch_leading(const_view(b), sizes), target);
}
template <Device D, Operand A, Operand B>
auto matmul(const D& device, const A& a, const B& b) {
  auto out = make_output<OperandScalar<A>, kOperandRank<A>>("matmul", detail::matmul_sizes(a, b), a, b);
  matmul(device, a, b, out);
  return out;
}
template <Operand A, Operand B>
auto matmul(const A& a, const B& b) {
  return matmul(DeviceRef(), a, b);
}

/// The gradients of matmul, d_out b^T and a^T d_out, added to d_a and d_b; one of null data is not wanted.
template <Device D, Real T, int Rank>
void matmul_backward(const D& device, const View<const T, Rank>& a, const View<const T, Rank>& b,
                     const View<const T, Rank>& d_out, const View<T, Rank>& d_a, const View<T, Rank>& d_b) {
  if (d_out.count() == 0) return;
  std::array<int, Rank> transposed;
  for (int axis = 0; axis < Rank; ++axis) transposed[std::size_t(axis)] = axis;
  std::swap(transposed[Rank - 1], transposed[Rank - 2]);
  const auto first = detail::stretch_leading(a, d_out.sizes), second = detail::stretch_leading(b, d_out.sizes);
  using enum kernel::Write;
  if (d_a.data)
    detail::multiply_matrices<kAdd>(device, d_out, second.permute(transposed),
                                    detail::stretch_leading(d_a, d_out.sizes));
  if (d_b.data)
    detail::multiply_matrices<kAdd>(device, first.permute(transposed), d_out,
                                    detail::stretch_leading(d_b, d_out.sizes));
}

}  // namespace heed::inline HEED_ISA
