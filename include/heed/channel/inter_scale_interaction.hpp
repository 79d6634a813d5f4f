// SPDX-License-Identifier: Apache-2.0
// inter_scale_interaction: a gate of large kernels on the joined features of encoder and decoder.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/conv_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = out(u * a) + f, f = in([enc, dec]), u = gelu(f), a = mix(dilated(local(u))): two depthwise convolutions, the
/// second with a dilation, whose kernels together are a large one, and a 1x1 convolution. The gate a is not squashed.
///
/// enc (B, Ce, h, w), dec (B, Cd, h, w), out (B, C, h, w); in.weight (C, Ce + Cd), local.weight (C, 1, k, k),
/// dilated.weight (C, 1, k2, k2), mix.weight and out.weight (C, C), each with .bias (C) or none; odd k and k2 (the
/// paper: 5 and 7), sizes are kept. Throws heed::Error for shapes and options that do not fit and maps without
/// positions. Time O(B h w C (k^2 + k2^2 + 2 C)). The same bits for any number of threads. Source: our reading of Azad
/// et al. 2024 (TransDAE), whose code was not available; order and residual are those of Visual Attention Network's
/// block.
template <Real T>
struct InterScaleInteraction {
  struct Options {
    Index dilation = 3;  ///< of dilated, 1 or more
  };

  Options options = {};
  ConvChannels<T> in = {}, mix = {}, out = {};
  Conv2d<T> local = {}, dilated = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "in.", in, "local.", local, "dilated.", dilated, "mix.", mix, "out.", out);
  }

  template <Operand E, Operand X>
  auto operator()(const E& enc, const X& dec) const {
    return (*this)(DeviceRef(), enc, dec);
  }
  template <Device D, Operand E, Operand X>
  auto operator()(const D& device, const E& enc, const X& dec) const {
    static_assert(kOperandRank<E> == 4 && kOperandRank<X> == 4, "heed::InterScaleInteraction: maps are (B, C, h, w)");
    require_map(kName, enc);
    const auto e = sizes_of(enc), d = sizes_of(dec);
    require_shape(kName, "dec", d, std::array<Index, 4>{e[0], d[1], e[2], e[3]});
    const Index channels = in.weight.dimension(0);
    require_parameter(kName, "in.weight", in.weight, {-1, e[1] + d[1]});
    require_parameter(kName, "mix.weight", mix.weight, {channels, channels});
    require_parameter(kName, "out.weight", out.weight, {channels, channels});
    const auto f = in(device, concat<1>(device, enc, dec));
    const auto u = gelu(device, f);
    const auto near = depthwise(device, u, "local.weight", local, 1);
    const auto far = depthwise(device, near, "dilated.weight", dilated, options.dilation);
    const auto gated = multiply(device, u, mix(device, far));
    return add(device, out(device, gated), f);
  }

 private:
  static constexpr std::string_view kName = "inter_scale_interaction";

  template <Device D, Operand X>
  auto depthwise(const D& device, const X& x, std::string_view name, const Conv2d<T>& conv, Index dilation) const {
    const Index channels = sizes_of(x)[1], k = conv.weight.dimension(2);
    require_parameter(kName, name, conv.weight, {channels, 1, k, k});
    require(k % 2 == 1 && dilation > 0, kName, name, " must have an odd kernel and a dilation of 1 or more, got ", k,
            " and ", dilation);
    return conv_2d(device, x, conv.weight, conv.bias, ConvOptions::same(k, channels, 1, dilation));
  }
};

}  // namespace heed::inline HEED_ISA
