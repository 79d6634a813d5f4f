// SPDX-License-Identifier: Apache-2.0
// decay_matrix: what is left of each step at each later one.
#pragma once

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <std::size_t Rank>
std::array<Index, Rank + 1> decay_sizes(const std::array<Index, Rank>& x) {
  std::array<Index, Rank + 1> sizes;
  std::copy(x.begin(), x.end(), sizes.begin());
  sizes[Rank - 1] = sizes[Rank] = x[Rank - 1] + 1;
  return sizes;
}

}  // namespace detail

/// out(.., u, s) = x_(s+1) x_(s+2) .. x_u for u >= s, 1 on the diagonal and 0 above it: x (B, H, n), counted from 1,
/// out (B, H, n + 1, n + 1). The recurrence y_u = x_u y_(u-1) + z_u, from y_0 = z_0, is y = out z. Any strides, float
/// or double. No division: factors may be 0. Throws heed::Error for another shape of out. Time O(n^2).
///
/// Gradient: of x, decay_matrix_backward.
template <Device D, TensorLike X, TensorLike O>
void decay_matrix(const D& device, const X& x_like, O&& out_like) {
  using T = ScalarOf<X>;
  const auto x = const_view(x_like);
  const View<T, 4> out = view(out_like);
  require_shape("decay_matrix", "out", out.sizes, detail::decay_sizes(x.sizes));
  const Index heads = x.size(1), n = x.size(2);
  parallel_for(device, x.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    for (Index u = 0; u <= n; ++u) {
      const T factor = u > 0 ? x(b, h, u - 1) : T(1);
      for (Index s = 0; s <= n; ++s) out(b, h, u, s) = s > u ? T(0) : s == u ? T(1) : factor * out(b, h, u - 1, s);
    }
  });
}
template <Device D, Operand X>
auto decay_matrix(const D& device, const X& x) {
  auto out = make_output<OperandScalar<X>, 4>("decay_matrix", detail::decay_sizes(sizes_of(x)), x);
  decay_matrix(device, x, out);
  return out;
}

/// The gradient of decay_matrix, given its result, added to d_x: back along the recurrence out(u) = x_u out(u - 1).
template <Device D, Real T>
void decay_matrix_backward(const D& device, const View<const T, 3>& x, const View<const T, 4>& out,
                           const View<const T, 4>& d_out, const View<T, 3>& d_x) {
  if (!d_x.data) return;
  const Index heads = x.size(1), n = x.size(2);
  parallel_for(device, x.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    ScratchFrame frame;
    T* const d_row = frame.take<T>(n + 1);
    std::fill_n(d_row, n + 1, T(0));
    for (Index u = n; u > 0; --u) {
      T sum = 0;
      for (Index s = 0; s < u; ++s) {
        const T d = d_row[s] + d_out(b, h, u, s);
        sum += d * out(b, h, u - 1, s);
        d_row[s] = d * x(b, h, u - 1);
      }
      d_x(b, h, u - 1) += sum;
    }
  });
}

}  // namespace heed::inline HEED_ISA
