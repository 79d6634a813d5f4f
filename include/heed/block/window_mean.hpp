// SPDX-License-Identifier: Apache-2.0
// window_mean: the mean of the last few tokens that are there.
#pragma once

#include "heed/block/depthwise_1d.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// 1 / the number of tokens of (B, N) that the window of each holds, 0 where it holds none.
template <class T>
View<T, 3> window_weights(ScratchFrame& frame, const View<const std::uint8_t, 2>& mask, Index window) {
  const View<T, 3> weights(frame.take<T>(mask.count()), {mask.size(0), mask.size(1), 1});
  for (Index b = 0; b < mask.size(0); ++b) {
    Index count = 0;
    for (Index t = 0; t < mask.size(1); ++t) {
      count += mask(b, t) != 0;
      if (t >= window) count -= mask(b, t - window) != 0;
      weights(b, t, 0) = count > 0 ? T(1) / T(count) : T(0);
    }
  }
  return weights;
}

// from (B, N, C) times `before` (B, N, 1), summed over `window` tokens, times `after` (B, N, 1), added to `to`.
template <class T, class D, class U, class UB, class UA, class UO>
void add_window_sums(const D& device, const View<const U, 3>& from, const View<const UB, 3>& before, Index window,
                     Index left, const View<const UA, 3>& after, const View<UO, 3>& to) {
  ScratchFrame frame;
  const Index channels = from.size(2);
  const View<T, 3> rows(frame.take<T>(from.count()), from.sizes), sums(frame.take<T>(from.count()), from.sizes);
  const simd::Batch<T> zero(T(0));
  // What has weight 0 takes no part, NaN included.
  kernel::elementwise<kernel::Write::kAssign, T>(
      device, [zero](auto x, auto by) { return simd::select(by == zero, zero, decltype(x)(x * by)); }, rows, from,
      before.broadcast(from.sizes, "window_mean", "the mask"));
  const T one = T(1);
  const View<const T, 2> filter(&one, {channels, window}, {0, 0});
  depthwise_rows<kernel::Write::kAssign, T>(device, View<const T, 3>(rows),
                                            kernel::pack_depthwise<T>(frame, filter, View<const T, 1>(), false), left,
                                            1, sums);
  kernel::elementwise<kernel::Write::kAdd, T>(
      device, [zero](auto x, auto by) { return simd::select(by == zero, zero, decltype(x)(x * by)); }, to,
      View<const T, 3>(sums), after.broadcast(from.sizes, "window_mean", "the mask"));
}

inline void check_window_mean(const std::array<Index, 3>& x, const std::array<Index, 2>& mask, Index window) {
  require(window > 0, "window_mean", "the window must be 1 or more tokens, got ", window);
  require_shape("window_mean", "the mask", mask, std::array<Index, 2>{x[0], x[1]});
}

template <class D, class U, class UO>
void window_mean(const D& device, const View<const U, 3>& x, const View<const std::uint8_t, 2>& mask, Index window,
                 const View<UO, 3>& out) {
  using T = heed::Compute<U>;
  check_window_mean(x.sizes, mask.sizes, window);
  require_shape("window_mean", "out", out.sizes, x.sizes);
  if (x.count() == 0) return;
  window = std::min(window, x.size(1));
  ScratchFrame frame;
  std::fill_n(out.data, out.count(), UO(0));
  add_window_sums<T>(device, x, mask.split(1, 1), window, window - 1,
                     View<const T, 3>(window_weights<T>(frame, mask, window)), out);
}

}  // namespace detail

/// out(b, t) = the mean of those of the tokens t - window + 1 .. t that the mask shows, 0 where it shows none: x (B, N,
/// C), mask (B, N) of std::uint8_t, window 1 or more, out as x and of its type. What is hidden takes no part, NaN
/// included. Any strides and storage. Throws heed::Error for shapes that do not fit. Time O(B N C window); the same
/// bits for any batch and number of threads.
///
/// Gradient: of x, window_mean_backward; 0 for hidden tokens.
template <Device D, TensorLike X, TensorLike M>
auto window_mean(const D& device, const X& x, const M& mask, Index window) {
  static_assert(kRankOf<X> == 3 && kRankOf<M> == 2 && std::same_as<ScalarOf<M>, std::uint8_t>,
                "heed::window_mean: x is (B, N, C) and the mask (B, N), of std::uint8_t");
  Tensor<ScalarOf<X>, 3> out;
  out.resize(const_view(x).sizes);
  detail::window_mean(device, const_view(x), const_view(mask), window, view(out));
  return out;
}
template <TensorLike X, TensorLike M>
auto window_mean(const X& x, const M& mask, Index window) {
  return window_mean(DeviceRef(), x, mask, window);
}

/// The gradient of window_mean, added to d_x; nothing if d_x has no data.
template <Device D, Real T>
void window_mean_backward(const D& device, const View<const std::uint8_t, 2>& mask, Index window,
                          const View<const T, 3>& d_out, const View<T, 3>& d_x) {
  if (!d_x.data || d_x.count() == 0) return;
  window = std::min(window, d_x.size(1));
  ScratchFrame frame;
  detail::add_window_sums<T>(device, d_out, View<const T, 3>(detail::window_weights<T>(frame, mask, window)), window, 0,
                             mask.split(1, 1), d_x);
}

}  // namespace heed::inline HEED_ISA
