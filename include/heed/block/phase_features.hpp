// SPDX-License-Identifier: Apache-2.0
// phase_features: channels twice, turned by the position: products of them depend on distances alone.
#pragma once

#include <cmath>

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/core/scratch.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Tokens that share sines and cosines of their block's beginning: two of each make those of every token.
inline constexpr Index kPhaseBlock = 64;

template <std::size_t Rank>
std::array<Index, Rank> phase_sizes(std::array<Index, Rank> x) {
  x[Rank - 1] *= 2;
  return x;
}

// Calls f(b, h, n, cos, sin) for the tokens of all heads, a head a unit, with the cosines and sines of
// (n + position) * theta for each channel.
template <Device D, class UX, class UT, class F>
void for_each_phase(const D& device, const View<UX, 4>& x, const View<UT, 2>& theta, Index position, const F& f) {
  const Index heads = x.size(1), tokens = x.size(2), width = x.size(3);
  parallel_for(device, x.size(0) * heads, [&](Index unit) {
    ScratchFrame frame;
    const auto table = [&](Index rows) { return frame.take<double>(rows * width); };
    const Index within = std::min(tokens, kPhaseBlock);
    double *const omega = table(1), *const fine_cos = table(within), *const fine_sin = table(within),
                  *const first_cos = table(1), *const first_sin = table(1), *const cos = table(1),
                  *const sin = table(1);
    const Index h = unit % heads;
    for (Index d = 0; d < width; ++d) omega[d] = double(theta(theta.size(0) == 1 ? 0 : h, theta.size(1) == 1 ? 0 : d));
    for (Index i = 0; i < within * width; ++i) {
      fine_cos[i] = std::cos(double(i / width) * omega[i % width]);
      fine_sin[i] = std::sin(double(i / width) * omega[i % width]);
    }
    for (Index n = 0; n < tokens; ++n) {
      const Index row = n % kPhaseBlock * width;
      for (Index d = 0; row == 0 && d < width; ++d) {
        first_cos[d] = std::cos(double(n + position) * omega[d]);
        first_sin[d] = std::sin(double(n + position) * omega[d]);
      }
      for (Index d = 0; d < width; ++d) {
        cos[d] = first_cos[d] * fine_cos[row + d] - first_sin[d] * fine_sin[row + d];
        sin[d] = first_sin[d] * fine_cos[row + d] + first_cos[d] * fine_sin[row + d];
      }
      f(unit / heads, h, n, cos, sin);
    }
  });
}

template <class UX, class UT>
void check_phases(const View<UX, 4>& x, const View<UT, 2>& theta) {
  require((theta.size(0) == 1 || theta.size(0) == x.size(1)) && (theta.size(1) == 1 || theta.size(1) == x.size(3)),
          "phase_features", "theta must have shape (H, D) = (", x.size(1), ", ", x.size(3),
          "), or 1 in their place, got ", shape_text(theta.sizes));
}

}  // namespace detail

/// out_n = (x_n cos(theta (n + position)), x_n sin(theta (n + position))), the cosines of all channels first: x
/// (B, H, N, D), theta (H, D), radians a token, either axis of it 1 to be shared, out (B, H, N, 2D). The product of two
/// results is that of the channels weighted by cos(theta (i - j)). Any strides, float or double; angles in double.
/// Throws heed::Error for shapes that do not fit. The same bits for any number of threads.
///
/// Gradient: of x and theta, phase_features_backward.
template <Device D, TensorLike X, TensorLike P, TensorLike O>
void phase_features(const D& device, const X& x_like, const P& theta_like, Index position, O&& out_like) {
  using T = ScalarOf<X>;
  const auto x = const_view(x_like);
  const auto theta = const_view(theta_like);
  const View<T, 4> out = view(out_like);
  detail::check_phases(x, theta);
  require_shape("phase_features", "out", out.sizes, detail::phase_sizes(x.sizes));
  const Index width = x.size(3);
  detail::for_each_phase(device, x, theta, position,
                         [&](Index b, Index h, Index n, const double* cos, const double* sin) {
                           for (Index d = 0; d < width; ++d) {
                             out(b, h, n, d) = x(b, h, n, d) * T(cos[d]);
                             out(b, h, n, width + d) = x(b, h, n, d) * T(sin[d]);
                           }
                         });
}
template <Device D, Operand X, Operand P>
auto phase_features(const D& device, const X& x, const P& theta, Index position = 0) {
  auto out = make_output<OperandScalar<X>, 4>("phase_features", detail::phase_sizes(sizes_of(x)), x, theta);
  phase_features(device, x, theta, position, out);
  return out;
}

/// The gradients of phase_features, added to d_x and d_theta; one of null data is not wanted.
template <Device D, Real T>
void phase_features_backward(const D& device, const View<const T, 4>& x, const View<const T, 2>& theta, Index position,
                             const View<const T, 4>& d_out, const View<T, 4>& d_x, const View<T, 2>& d_theta) {
  const Index heads = x.size(1), width = x.size(3);
  if (x.count() == 0) return;
  ScratchFrame frame;
  T* const sums = frame.take<T>(d_theta.data ? x.size(0) * heads * width : 0);
  std::fill_n(sums, d_theta.data ? x.size(0) * heads * width : 0, T(0));
  detail::for_each_phase(
      device, x, theta, position, [&](Index b, Index h, Index n, const double* cos, const double* sin) {
        T* const sum = sums + (b * heads + h) * width;
        for (Index d = 0; d < width; ++d) {
          const T c = T(cos[d]), s = T(sin[d]), along = d_out(b, h, n, d), across = d_out(b, h, n, width + d);
          if (d_x.data) d_x(b, h, n, d) += along * c + across * s;
          if (d_theta.data) sum[d] += T(n + position) * x(b, h, n, d) * (across * c - along * s);
        }
      });
  for (Index i = 0; d_theta.data && i < x.size(0) * heads * width; ++i)
    d_theta(d_theta.size(0) == 1 ? 0 : i / width % heads, d_theta.size(1) == 1 ? 0 : i % width) += sums[i];
}

}  // namespace heed::inline HEED_ISA
