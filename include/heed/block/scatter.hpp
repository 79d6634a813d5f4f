// SPDX-License-Identifier: Apache-2.0
// scatter_add: rows summed up where their indices say.
#pragma once

#include "heed/block/gather.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// out(.., m, :) = the sum of x(.., i, :) over all i with indices(.., i) == m: x (.., P, C), indices (.., P) int32
/// below `rows`, negative ones for none, out (.., rows, C) of x's type. Rows of one index are summed in their order:
/// the same bits for any device. Throws heed::Error for an index of `rows` or more and shapes that do not fit. Time O(P
/// C).
///
/// Gradient: of x, scatter_add_backward.
template <Device D, TensorLike X, TensorLike I>
auto scatter_add(const D& device, const X& x, const I& indices, Index rows) {
  constexpr int rank = kRankOf<X>;
  using T = ScalarOf<X>;
  static_assert(Real<T>, "heed::scatter_add: x is of float or of double");
  auto sizes = const_view(x).sizes;
  sizes[std::size_t(rank) - 2] = rows;
  Tensor<T, rank> out;
  out.resize(sizes);
  out.setZero();
  require_shape("scatter_add", "x", const_view(x).sizes, detail::gather_sizes<rank>(sizes, const_view(indices)));
  gather_backward<D, T, rank>(device, const_view(indices), const_view(x), view(out));
  return out;
}

/// The gradient of scatter_add, added to d_x: d_out(.., indices(.., i), :). Nothing if d_x has no data.
template <Device D, Real T, int Rank>
void scatter_add_backward(const D& device, const View<const std::int32_t, Rank - 1>& indices,
                          const View<const T, Rank>& d_out, const View<T, Rank>& d_x) {
  if (!d_x.data || d_x.count() == 0) return;
  const auto rows = gather(device, d_out, indices);
  kernel::copy<kernel::Write::kAdd>(device, const_view(rows), d_x);
}

}  // namespace heed::inline HEED_ISA
