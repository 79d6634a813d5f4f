// SPDX-License-Identifier: Apache-2.0
// MixFfn: a feed-forward network over tokens of a map, which mixes neighbours by a depthwise convolution.
#pragma once

#include <string>

#include "heed/block/activation.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// fc2(gelu(ln(m + u))), u = fc1(x), m = u as a map through a depthwise 3x3 convolution with a padding of 1: a part of
/// operators. x (B, height * width, C), out as x; fc1.weight (F, C), dw.weight (F, 1, 3, 3), ln (F), fc2.weight (C, F),
/// with biases or without. Source: Azad et al. 2023 (DAE-Former), the authors' code.
template <Real T>
struct MixFfn {
  Linear<T> fc1 = {}, fc2 = {};
  Conv2d<T> dw = {};
  LayerNorm<T> ln = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "fc1.", fc1, "dw.", dw, "ln.", ln, "fc2.", fc2);
  }

  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, Index width) const {
    auto&& space = intermediates<T>("mix_ffn", x);
    const auto u = space.template make<3>({sizes_of(x)[0], sizes_of(x)[1], fc1.weight.dimension(0)});
    fc1(device, x, u);
    const auto map = view(u).split(1, width).permute({0, 3, 1, 2});
    const auto mixed = conv_2d(device, map, dw.weight, dw.bias, ConvOptions::same(3, fc1.weight.dimension(0)));
    const auto sum = add(device, view(mixed).merge(2).permute({0, 2, 1}), u);
    const auto active = gelu(device, ln(device, sum));
    return fc2(device, active);
  }

  void check(std::string_view where, const std::string& prefix, Index channels) const {
    const Index hidden = fc1.weight.dimension(0);
    check_linear(where, prefix + "fc1", fc1, channels, hidden);
    require_parameter(where, prefix + "dw.weight", dw.weight, {hidden, 1, 3, 3});
    check_linear(where, prefix + "fc2", fc2, hidden, channels);
  }
};

/// Throws heed::Error unless x (B, N, C) has the tokens of a map of height x width.
template <Operand X>
void require_tokens_of(std::string_view where, std::string_view name, const X& x, Index height, Index width) {
  static_assert(kOperandRank<X> == 3, "heed: tokens are (B, N, C)");
  require(height > 0 && width > 0 && sizes_of(x)[1] == height * width, where, name,
          " must have shape (B, height * width, C) with a map of ", height, " x ", width, ", got ",
          shape_text(sizes_of(x)));
}

}  // namespace heed::inline HEED_ISA
