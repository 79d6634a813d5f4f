// SPDX-License-Identifier: Apache-2.0
// window_mix: the positions of overlapping windows mixed by given weights, and summed where windows overlap.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/contiguous.hpp"
#include "heed/kernel/normalize.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

/// Square windows that step over a map.
struct WindowOptions {
  Index kernel_size = 3;  ///< K, 1 or more
  Index padding = 1;      ///< zeros on either side, 0 or more
  Index stride = 1;       ///< positions between windows, 1 or more
};

namespace detail {

/// Windows over a map (B, h, w, C) with H heads of C / H channels.
struct WindowGrid {
  WindowOptions options;
  Index height, width, channels;        // of the map
  Index rows, columns, heads, offsets;  // of the windows; offsets K^2

  Index head_width() const { return channels / heads; }
  Index weights_of(Index b, Index i, Index j, Index head) const {
    return (((b * rows + i) * columns + j) * heads + head) * offsets * offsets;
  }
  // Calls f(i, j, count, offset, place): of each window the offsets that are on the map, and where these positions are.
  template <class F>
  void for_each_window(const F& f) const {
    ScratchFrame frame;
    Index* const offset = frame.take<Index>(offsets);
    Index* const place = frame.take<Index>(offsets);
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j) {
        Index count = 0;
        for (Index o = 0; o < offsets; ++o) {
          const Index y = i * options.stride - options.padding + o / options.kernel_size;
          const Index x = j * options.stride - options.padding + o % options.kernel_size;
          if (y < 0 || y >= height || x < 0 || x >= width) continue;
          offset[count] = o;
          place[count++] = (y * width + x) * channels;
        }
        f(i, j, count, offset, place);
      }
  }
};

inline WindowGrid window_grid(const std::array<Index, 5>& weights, const std::array<Index, 4>& values,
                              const WindowOptions& options) {
  constexpr std::string_view where = "window_mix";
  const Index k = options.kernel_size, offsets = k * k;
  require(k > 0 && options.padding >= 0 && options.stride > 0, where,
          "kernel_size and stride must be 1 or more and padding 0 or more, got ", k, ", ", options.stride, " and ",
          options.padding);
  const auto windows = [&](Index size) {
    return size + 2 * options.padding < k ? 0 : (size + 2 * options.padding - k) / options.stride + 1;
  };
  const std::array<Index, 5> expected{values[0], windows(values[1]), windows(values[2]), weights[3], offsets};
  require(weights == expected && weights[3] % offsets == 0 && weights[3] > 0 && values[3] % (weights[3] / offsets) == 0,
          where, "weights must have shape (B, h', w', H K^2, K^2) = ", shape_text(expected),
          ", H dividing C = ", values[3], ", got ", shape_text(weights));
  return {options, values[1], values[2], values[3], weights[1], weights[2], weights[3] / offsets, offsets};
}

// to += the mix of `from`, of one head of one image: by the weights as they are, or with inputs and outputs exchanged.
template <bool kTransposed, Real T>
void mix_windows(const WindowGrid& grid, Index b, Index head, const T* weights, const T* from, T* to) {
  const Index image = b * grid.height * grid.width * grid.channels + head * grid.head_width(), k2 = grid.offsets;
  grid.for_each_window([&](Index i, Index j, Index count, const Index* offset, const Index* place) {
    const T* const w = weights + grid.weights_of(b, i, j, head);
    for (Index o = 0; o < count; ++o) {
      T* const target = to + image + place[o];
      kernel::for_lanes<T>(grid.head_width(), [&](Index d, auto lanes) {
        simd::Batch<T> sum = kernel::load_lanes<T>(target + d, lanes);
        for (Index m = 0; m < count; ++m) {
          const T weight = kTransposed ? w[offset[m] * k2 + offset[o]] : w[offset[o] * k2 + offset[m]];
          sum = simd::fma(simd::Batch<T>(weight), kernel::load_lanes<T>(from + image + place[m] + d, lanes), sum);
        }
        simd::store_partial<T>(sum, target + d, lanes);
      });
    }
  });
}

}  // namespace detail

/// out(b, p, h d) = the sum over the windows i and offsets o with o of i at p of sum over offsets m of weights(b, i, h
/// K^2
/// + o, m) values(b, m of i, h d): values (B, h, w, C), channels last, weights (B, h', w', H K^2, K^2), out as values,
/// contiguous. Offset r K + c of window (i, j) is at (i stride - padding + r, j stride - padding + c); what is not on
/// the map is 0 and drops out. h' = floor((h + 2 padding - K) / stride) + 1. Any strides. Throws heed::Error for shapes
/// that do not fit. Time O(B h' w' K^4 C). The windows of a head are added in their order: the same bits for any number
/// of threads.
///
/// Gradient: of weights and values, window_mix_backward.
template <Device D, TensorLike W, TensorLike V, TensorLike O>
void window_mix(const D& device, const W& weights_like, const V& values_like, const WindowOptions& options,
                O&& out_like) {
  using T = ScalarOf<W>;
  static_assert(Real<T> && std::same_as<T, ScalarOf<V>> && std::same_as<T, ScalarOf<O>>,
                "heed::window_mix: weights and values must be float, or both double");
  const auto weights = const_view(weights_like);
  const auto values = const_view(values_like);
  const View<T, 4> out = view(out_like);
  const detail::WindowGrid grid = detail::window_grid(weights.sizes, values.sizes, options);
  require_shape("window_mix", "out", out.sizes, values.sizes);
  require(out.is_contiguous(), "window_mix", "out must be contiguous");
  ScratchFrame frame;
  const T* const w = kernel::contiguous_values<T>(frame, weights);
  const T* const v = kernel::contiguous_values<T>(frame, values);
  std::fill_n(out.data, out.count(), T(0));
  parallel_for(device, values.size(0) * grid.heads, [&](Index unit) {
    detail::mix_windows<false>(grid, unit / grid.heads, unit % grid.heads, w, v, out.data);
  });
}
template <Device D, Operand W, Operand V>
auto window_mix(const D& device, const W& weights, const V& values, const WindowOptions& options) {
  auto out = make_output<OperandScalar<V>, 4>("window_mix", sizes_of(values), weights, values);
  window_mix(device, weights, values, options, out);
  return out;
}

/// The gradients of window_mix, added to d_weights and d_values; one of null data is not wanted.
template <Device D, Real T>
void window_mix_backward(const D& device, const View<const T, 5>& weights, const View<const T, 4>& values,
                         const WindowOptions& options, const View<const T, 4>& d_out, const View<T, 5>& d_weights,
                         const View<T, 4>& d_values) {
  if (d_out.count() == 0) return;
  const detail::WindowGrid grid = detail::window_grid(weights.sizes, values.sizes, options);
  ScratchFrame frame;
  const T* const w = kernel::contiguous_values<T>(frame, weights);
  const T* const v = kernel::contiguous_values<T>(frame, values);
  const T* const d = kernel::contiguous_values<T>(frame, d_out);
  const auto zeros = [&](const auto& target) {
    T* const made = target.data ? frame.take<T>(target.count()) : nullptr;
    if (made) std::fill_n(made, target.count(), T(0));
    return made;
  };
  T* const to_weights = zeros(d_weights);
  T* const to_values = zeros(d_values);
  parallel_for(device, values.size(0) * grid.heads, [&](Index unit) {
    const Index b = unit / grid.heads, head = unit % grid.heads;
    if (to_values) detail::mix_windows<true>(grid, b, head, w, d, to_values);
    if (!to_weights) return;
    const Index image = b * grid.height * grid.width * grid.channels + head * grid.head_width();
    grid.for_each_window([&](Index i, Index j, Index count, const Index* offset, const Index* place) {
      T* const of = to_weights + grid.weights_of(b, i, j, head);
      for (Index o = 0; o < count; ++o)
        for (Index m = 0; m < count; ++m)
          of[offset[o] * grid.offsets + offset[m]] =
              kernel::detail::sum_lanes<T>(grid.head_width(), [&](Index c, auto lanes) {
                return kernel::load_lanes<T>(d + image + place[o] + c, lanes) *
                       kernel::load_lanes<T>(v + image + place[m] + c, lanes);
              });
    });
  });
  using enum kernel::Write;
  if (to_weights) kernel::copy<kAdd>(device, View<const T, 5>(to_weights, d_weights.sizes), d_weights);
  if (to_values) kernel::copy<kAdd>(device, View<const T, 4>(to_values, d_values.sizes), d_values);
}

}  // namespace heed::inline HEED_ISA
