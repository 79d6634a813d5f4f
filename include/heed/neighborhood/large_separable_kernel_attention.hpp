// SPDX-License-Identifier: Apache-2.0
// large_separable_kernel_attention: large kernel attention of kernels that are one row or one column.
#pragma once

#include "heed/neighborhood/large_kernel_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = x * pw(dwd_v(dwd_h(dw_v(dw_h(x))))), or of the horizontal (kHorizontal) or the vertical (kVertical) ones
/// alone: depthwise convolutions with kernels 1 x k (h) and k x 1 (v), dwd dilated along the kernel, each with the
/// padding that keeps the size.
///
///   heed::LargeSeparableKernelAttention<float> attend{{.dilation = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, C, h, w); dw_h.weight (C, 1, 1, k1), dw_v.weight (C, 1, k1, 1), dwd_h.weight (C, 1, 1, k2),
/// dwd_v.weight (C, 1, k2, 1), odd, pw.weight (C, C), biases (C); those that the mode does not use are empty. Throws
/// heed::Error for shapes and options that do not fit and maps without positions. Time O(B h w C (2 k1 + 2 k2 + C));
/// the same bits for any number of threads.
/// Source: Lau et al. 2023, as in BEVANet (Huang et al. 2025), the class LSKA of the latter's code.
template <Real T>
struct LargeSeparableKernelAttention {
  enum class Mode { kBoth, kHorizontal, kVertical };
  struct Options {
    Index dilation = 3;  ///< of dwd, 1 or more
    Mode mode = Mode::kBoth;
  };

  Options options = {};
  Conv2d<T> dw_h = {}, dw_v = {}, dwd_h = {}, dwd_v = {};
  ConvChannels<T> pw = {};

  template <class F>
  void for_each_parameter(F&& f) {
    if (options.mode != Mode::kVertical) {
      visit_parts(f, "dw_h.", dw_h, "dwd_h.", dwd_h);
    }
    if (options.mode != Mode::kHorizontal) {
      visit_parts(f, "dw_v.", dw_v, "dwd_v.", dwd_v);
    }
    visit_part("pw.", pw, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    require_parameter(kName, "pw.weight", pw.weight, {sizes_of(x)[1], sizes_of(x)[1]});
    if (options.mode == Mode::kHorizontal) {
      const auto near = horizontal(device, "dw_h", x, dw_h);
      return gate(device, x, pw(device, horizontal(device, "dwd_h", near, dwd_h, options.dilation)));
    }
    if (options.mode == Mode::kVertical) {
      const auto near = vertical(device, "dw_v", x, dw_v);
      return gate(device, x, pw(device, vertical(device, "dwd_v", near, dwd_v, options.dilation)));
    }
    const auto near = vertical(device, "dw_v", horizontal(device, "dw_h", x, dw_h), dw_v);
    const auto row = horizontal(device, "dwd_h", near, dwd_h, options.dilation);
    return gate(device, x, pw(device, vertical(device, "dwd_v", row, dwd_v, options.dilation)));
  }

 private:
  static constexpr std::string_view kName = "large_separable_kernel_attention";

  template <class D, class X>
  static auto horizontal(const D& device, std::string_view name, const X& x, const Conv2d<T>& layer,
                         Index dilation = 1) {
    require(layer.weight.dimension(2) == 1, kName, name, ".weight must have kernels of one row, got ",
            shape_text(const_view(layer.weight).sizes));
    return detail::depthwise_same(device, kName, name, x, layer, dilation);
  }
  template <class D, class X>
  static auto vertical(const D& device, std::string_view name, const X& x, const Conv2d<T>& layer, Index dilation = 1) {
    require(layer.weight.dimension(3) == 1, kName, name, ".weight must have kernels of one column, got ",
            shape_text(const_view(layer.weight).sizes));
    return detail::depthwise_same(device, kName, name, x, layer, dilation);
  }
};

}  // namespace heed::inline HEED_ISA
