// SPDX-License-Identifier: Apache-2.0
// sdlska: sparse decomposed large separable kernel attention.
#pragma once

#include "heed/neighborhood/comprehensive_kernel_selection.hpp"

namespace heed::inline HEED_ISA {

/// out = x * pw(cks(s, dwd_h(s), dwd_v(s))) with s = dw(x): depthwise convolutions, dwd_h of one row and dwd_v of one
/// column, dilated along themselves, both of s, and a ComprehensiveKernelSelection of the three.
///
///   heed::Sdlska<float> attend{{.dilation = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, C, h, w); dw.weight (C, 1, k1, k1), dwd_h.weight (C, 1, 1, k2), dwd_v.weight (C, 1, k2, 1), odd (the
/// authors': 5 and 11 or 7), pw.weight (C, C), biases (C); cks., the parameters of that part. Throws heed::Error for
/// shapes and options that do not fit and maps without positions. Time O(B h w C (k1^2 + 2 k2 + C)); the same bits for
/// any number of threads. Source: Huang et al. 2025 (BEVANet), the class SDLSKA of the authors' code.
template <Real T>
struct Sdlska {
  struct Options {
    Index dilation = 3;  ///< of dwd_h and dwd_v, 1 or more
  };

  Options options = {};
  Conv2d<T> dw = {}, dwd_h = {}, dwd_v = {};
  ConvChannels<T> pw = {};
  ComprehensiveKernelSelection<T> cks = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "dw.", dw, "dwd_h.", dwd_h, "dwd_v.", dwd_v, "pw.", pw, "cks.", cks);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    require_parameter(kName, "pw.weight", pw.weight, {sizes_of(x)[1], sizes_of(x)[1]});
    require(dwd_h.weight.dimension(2) == 1 && dwd_v.weight.dimension(3) == 1, kName,
            "dwd_h.weight must have kernels of one row and dwd_v.weight of one column, got ",
            shape_text(const_view(dwd_h.weight).sizes), " and ", shape_text(const_view(dwd_v.weight).sizes));
    const auto s = detail::depthwise_same(device, kName, "dw", x, dw);
    const auto h = detail::depthwise_same(device, kName, "dwd_h", s, dwd_h, options.dilation);
    const auto v = detail::depthwise_same(device, kName, "dwd_v", s, dwd_v, options.dilation);
    return gate(device, x, pw(device, cks(device, s, h, v)));
  }

 private:
  static constexpr std::string_view kName = "sdlska";
};

}  // namespace heed::inline HEED_ISA
