// SPDX-License-Identifier: Apache-2.0
// resample: feature maps pooled by averages, or resized.
#pragma once

#include <cmath>

#include "heed/core/operand.hpp"
#include "heed/kernel/resample.hpp"

namespace heed::inline HEED_ISA {

/// Windows of a pooling, rows first.
struct PoolOptions {
  std::array<Index, 2> kernel{2, 2};
  std::array<Index, 2> stride{0, 0};   ///< 0: as the kernel
  std::array<Index, 2> padding{0, 0};  ///< at most half the kernel
  bool include_padding = true;         ///< whether an average counts the zeros around the map

  Index step(std::size_t axis) const { return stride[axis] == 0 ? kernel[axis] : stride[axis]; }
  /// floor((size + 2 padding - kernel) / stride) + 1. Throws heed::Error for options that do not fit.
  Index output(std::string_view where, std::size_t axis, Index size) const {
    require(kernel[axis] > 0 && stride[axis] >= 0 && padding[axis] >= 0 && 2 * padding[axis] <= kernel[axis], where,
            "kernel must be 1 or more, stride 0 or more and padding at most half the kernel, got ", shape_text(kernel),
            ", ", shape_text(stride), " and ", shape_text(padding));
    require(size > 0 && size + 2 * padding[axis] >= kernel[axis], where, "a window of ", kernel[axis],
            " does not fit on ", size, " positions with a padding of ", padding[axis]);
    return (size + 2 * padding[axis] - kernel[axis]) / step(axis) + 1;
  }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t axis, Index size, Index outputs) const {
    kernel::AxisWindows<T> result(frame, outputs, kernel[axis]);
    for (Index i = 0; i < outputs; ++i) {
      const Index begin = i * step(axis) - padding[axis], end = std::min(size, begin + kernel[axis]);
      const Index count = end - std::max<Index>(0, begin);
      result.set(i, std::max<Index>(0, begin), count, T(1) / T(include_padding ? kernel[axis] : count));
    }
    return result;
  }
};

namespace detail {

inline Index resized(std::string_view where, Index from, Index to) {
  require(from > 0 && to > 0, where, "a map of ", from, " positions along an axis cannot become one of ", to);
  return to;
}

/// Cell i of s covers floor(i n / s) up to, not including, ceil((i + 1) n / s).
template <Real T>
kernel::AxisWindows<T> adaptive_windows(ScratchFrame& frame, Index size, Index cells) {
  kernel::AxisWindows<T> result(frame, cells, size / cells + 2);
  for (Index i = 0; i < cells; ++i) {
    const Index begin = i * size / cells, end = ((i + 1) * size + cells - 1) / cells;
    result.set(i, begin, end - begin, T(1) / T(end - begin));
  }
  return result;
}

}  // namespace detail

// What resample() computes. Each gives the outputs and the windows of an axis.

struct AveragePool : PoolOptions {
  static constexpr std::string_view kName = "average_pool";
  Index output(std::size_t axis, Index size) const { return PoolOptions::output(kName, axis, size); }
};

struct AdaptiveAveragePool {
  static constexpr std::string_view kName = "adaptive_average_pool";
  std::array<Index, 2> size;
  Index output(std::size_t axis, Index from) const { return detail::resized(kName, from, size[axis]); }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index from, Index to) const {
    return detail::adaptive_windows<T>(frame, from, to);
  }
};

struct NearestResize {
  static constexpr std::string_view kName = "resize_nearest";
  std::array<Index, 2> size;
  Index output(std::size_t axis, Index from) const { return detail::resized(kName, from, size[axis]); }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index from, Index to) const {
    kernel::AxisWindows<T> result(frame, to, 1);
    for (Index i = 0; i < to; ++i) result.set(i, i * from / to, 1, T(1));
    return result;
  }
};

struct BilinearResize {
  static constexpr std::string_view kName = "resize_bilinear";
  std::array<Index, 2> size;
  bool align_corners = false;
  Index output(std::size_t axis, Index from) const { return detail::resized(kName, from, size[axis]); }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index from, Index to) const {
    kernel::AxisWindows<T> result(frame, to, 2);
    for (Index i = 0; i < to; ++i) {
      double source = 0;
      if (align_corners) {
        if (to > 1) source = double(i) * double(from - 1) / double(to - 1);
      } else {
        source = std::max(0.0, (double(i) + 0.5) * double(from) / double(to) - 0.5);
      }
      const Index start = std::min(Index(source), from - 1);
      result.set(i, start, start + 1 < from ? 2 : 1, T(1));
      if (start + 1 == from) continue;
      T* const weights = result.weights + i * result.stride;
      weights[1] = T(source - double(start));
      weights[0] = T(1) - weights[1];
    }
    return result;
  }
};

namespace detail {

template <class Method>
std::array<Index, 4> resample_sizes(const Method& method, const std::array<Index, 4>& x) {
  return {x[0], x[1], method.output(0, x[2]), method.output(1, x[3])};
}

}  // namespace detail

/// out(b, c, i, j) = sum over a window of rows u and one of columns v of weights(i, u) weights'(j, v) x(b, c, u, v):
/// x (B, C, h, w), out (B, C, h', w'), by one of
/// - average_pool(x, {.kernel, .stride, .padding, .include_padding}): h' = floor((h + 2 padding - kernel) / stride) +
/// 1;
/// - adaptive_average_pool(x, {h', w'}): cell i covers floor(i h / h') up to, not including, ceil((i + 1) h / h');
/// - resize_nearest(x, {h', w'}): input floor(i h / h');
/// - resize_bilinear(x, {h', w'}, align_corners): input max(0, (i + 0.5) h / h' - 0.5), or i (h - 1) / (h' - 1).
///
/// Any strides and storage; the result has x's type. Throws heed::Error for an empty map or sizes that do not fit. Time
/// O(B C (w * rows read + outputs * columns read)), scratch of two rows a thread; the same bits for any number of
/// threads. Gradient: of x, resample_backward.
template <class Method, Device D, TensorLike X, TensorLike O>
void resample(const Method& method, const D& device, const X& x, O&& out) {
  using T = Compute<ScalarOf<X>>;
  static_assert(kRankOf<X> == 4 && kRankOf<O> == 4, "heed: a map is (B, C, h, w)");
  const auto input = const_view(x);
  const auto target = view(out);
  require_shape(Method::kName, "out", target.sizes, detail::resample_sizes(method, input.sizes));
  ScratchFrame frame;
  kernel::resample<T>(device, input, method.template windows<T>(frame, 0, input.size(2), target.size(2)),
                      method.template windows<T>(frame, 1, input.size(3), target.size(3)), target);
}
template <class Method, Device D, Operand X>
auto resample(const Method& method, const D& device, const X& x) {
  static_assert(kOperandRank<X> == 4, "heed: a map is (B, C, h, w)");
  auto out = make_output<OperandScalar<X>, 4>(Method::kName, detail::resample_sizes(method, sizes_of(x)), x);
  resample(method, device, x, out);
  return out;
}

/// The gradient of resample, added to d_x; nothing if that has no data.
template <class Method, Device D, Real T>
void resample_backward(const Method& method, const D& device, const View<const T, 4>& d_out, const View<T, 4>& d_x) {
  if (!d_x.data || d_out.count() == 0) return;
  ScratchFrame frame;
  kernel::resample_backward<T>(device, d_out, method.template windows<T>(frame, 0, d_x.size(2), d_out.size(2)),
                               method.template windows<T>(frame, 1, d_x.size(3), d_out.size(3)), d_x);
}

template <Device D, Operand X>
auto average_pool(const D& device, const X& x, const PoolOptions& options) {
  return resample(AveragePool{options}, device, x);
}
template <Operand X>
auto average_pool(const X& x, const PoolOptions& options) {
  return resample(AveragePool{options}, DeviceRef(), x);
}
template <Device D, Operand X>
auto adaptive_average_pool(const D& device, const X& x, const std::array<Index, 2>& size) {
  return resample(AdaptiveAveragePool{size}, device, x);
}
template <Operand X>
auto adaptive_average_pool(const X& x, const std::array<Index, 2>& size) {
  return resample(AdaptiveAveragePool{size}, DeviceRef(), x);
}
template <Device D, Operand X>
auto resize_nearest(const D& device, const X& x, const std::array<Index, 2>& size) {
  return resample(NearestResize{size}, device, x);
}
template <Operand X>
auto resize_nearest(const X& x, const std::array<Index, 2>& size) {
  return resample(NearestResize{size}, DeviceRef(), x);
}
template <Device D, Operand X>
auto resize_bilinear(const D& device, const X& x, const std::array<Index, 2>& size, bool align_corners = false) {
  return resample(BilinearResize{size, align_corners}, device, x);
}
template <Operand X>
auto resize_bilinear(const X& x, const std::array<Index, 2>& size, bool align_corners = false) {
  return resample(BilinearResize{size, align_corners}, DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
