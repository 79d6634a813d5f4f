// SPDX-License-Identifier: Apache-2.0
// max_pool: the largest of each window of a map.
#pragma once

#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

struct MaxPool : PoolOptions {
  static constexpr std::string_view kName = "max_pool";
  Index output(std::size_t axis, Index size) const { return PoolOptions::output(kName, axis, size); }
};

struct AdaptiveMaxPool {
  static constexpr std::string_view kName = "adaptive_max_pool";
  std::array<Index, 2> size;
  Index output(std::size_t axis, Index from) const { return detail::resized(kName, from, size[axis]); }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index from, Index to) const {
    return detail::adaptive_windows<T>(frame, from, to);
  }
};

/// out(b, c, i, j) = the largest x(b, c, u, v) of a window, NaN if there is one: max_pool(x, {.kernel, .stride,
/// .padding}), padded by nothing that could be the largest, or adaptive_max_pool(x, {h', w'}). Shapes, errors and
/// windows as of average_pool and adaptive_average_pool.
///
/// Gradient: of x, max_pool_backward: to the first of the largest, in row-major order.
template <class Method, Device D, TensorLike X, TensorLike O>
void max_resample(const Method& method, const D& device, const X& x, O&& out) {
  using T = Compute<ScalarOf<X>>;
  static_assert(kRankOf<X> == 4 && kRankOf<O> == 4, "heed: a map is (B, C, h, w)");
  const auto input = const_view(x);
  const auto target = view(out);
  require_shape(Method::kName, "out", target.sizes, detail::resample_sizes(method, input.sizes));
  ScratchFrame frame;
  kernel::max_pool<T>(device, input, method.template windows<T>(frame, 0, input.size(2), target.size(2)),
                      method.template windows<T>(frame, 1, input.size(3), target.size(3)), target);
}
template <class Method, Device D, Operand X>
auto max_resample(const Method& method, const D& device, const X& x) {
  static_assert(kOperandRank<X> == 4, "heed: a map is (B, C, h, w)");
  auto out = make_output<OperandScalar<X>, 4>(Method::kName, detail::resample_sizes(method, sizes_of(x)), x);
  max_resample(method, device, x, out);
  return out;
}

/// The gradient of max_pool, given its result, added to d_x; nothing if that has no data.
template <class Method, Device D, Real T>
void max_pool_backward(const Method& method, const D& device, const View<const T, 4>& x, const View<const T, 4>& out,
                       const View<const T, 4>& d_out, const View<T, 4>& d_x) {
  if (!d_x.data || d_out.count() == 0) return;
  ScratchFrame frame;
  kernel::max_pool_backward<T>(device, x, out, d_out, method.template windows<T>(frame, 0, x.size(2), out.size(2)),
                               method.template windows<T>(frame, 1, x.size(3), out.size(3)), d_x);
}

template <Device D, Operand X>
auto max_pool(const D& device, const X& x, const PoolOptions& options) {
  return max_resample(MaxPool{options}, device, x);
}
template <Operand X>
auto max_pool(const X& x, const PoolOptions& options) {
  return max_resample(MaxPool{options}, DeviceRef(), x);
}
template <Device D, Operand X>
auto adaptive_max_pool(const D& device, const X& x, const std::array<Index, 2>& size) {
  return max_resample(AdaptiveMaxPool{size}, device, x);
}
template <Operand X>
auto adaptive_max_pool(const X& x, const std::array<Index, 2>& size) {
  return max_resample(AdaptiveMaxPool{size}, DeviceRef(), x);
}

}  // namespace heed::inline HEED_ISA
