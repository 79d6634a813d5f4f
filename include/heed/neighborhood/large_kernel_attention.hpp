// SPDX-License-Identifier: Apache-2.0
// large_kernel_attention: a large kernel, taken apart into small ones, makes a map that multiplies its input.
#pragma once

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// A depthwise convolution of x with its kernel's own odd size and the padding that keeps the map's; a kernel of one
/// row or column is dilated along itself alone.
template <Device D, Operand X, Storage T>
auto depthwise_same(const D& device, std::string_view where, std::string_view name, const X& x, const Conv2d<T>& layer,
                    Index dilation = 1) {
  const Index channels = sizes_of(x)[1], kh = layer.weight.dimension(2), kw = layer.weight.dimension(3);
  require(layer.weight.dimension(0) == channels && layer.weight.dimension(1) == 1 && kh % 2 == 1 && kw % 2 == 1, where,
          name, ".weight must have shape (C, 1, kh, kw) with C = ", channels, " and odd kh and kw, got ",
          shape_text(const_view(layer.weight).sizes));
  const Index along_rows = kh > 1 ? dilation : 1, along_columns = kw > 1 ? dilation : 1;
  return conv_2d(device, x, layer.weight, layer.bias,
                 {.padding = {along_rows * (kh / 2), along_columns * (kw / 2)},
                  .dilation = {along_rows, along_columns},
                  .groups = channels});
}

}  // namespace detail

/// out = x * pw(dwd(dw(x))): a depthwise convolution, a dilated depthwise one and one across channels, each with the
/// padding that keeps the size. No activation and no norm.
///
///   heed::LargeKernelAttention<float> attend{{.dilation = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, C, h, w); dw.weight (C, 1, k1, k1), dwd.weight (C, 1, k2, k2), odd (the authors': 5 and 7, which reach
/// 21 positions), pw.weight (C, C), biases (C). Maps smaller than that see zeros around them. Throws heed::Error for
/// shapes and options that do not fit and maps without positions. Time O(B h w C (k1^2 + k2^2 + C)); the same bits for
/// any number of threads. Source: Guo et al. 2022 (Visual Attention Network), the class LKA of the authors' code.
template <Real T>
struct LargeKernelAttention {
  struct Options {
    Index dilation = 3;  ///< of dwd, 1 or more
  };

  Options options = {};
  Conv2d<T> dw = {}, dwd = {};
  ConvChannels<T> pw = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "dw.", dw, "dwd.", dwd, "pw.", pw);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    require_parameter(kName, "pw.weight", pw.weight, {sizes_of(x)[1], sizes_of(x)[1]});
    const auto near = detail::depthwise_same(device, kName, "dw", x, dw);
    const auto far = detail::depthwise_same(device, kName, "dwd", near, dwd, options.dilation);
    return gate(device, x, pw(device, far));
  }

 private:
  static constexpr std::string_view kName = "large_kernel_attention";
};

}  // namespace heed::inline HEED_ISA
