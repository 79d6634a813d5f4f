// SPDX-License-Identifier: Apache-2.0
// local_concentration_module: two depthwise convolutions that concentrate what linear attention left flat.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/tokens.hpp"

namespace heed::inline HEED_ISA {

/// out = dw2(bn(gelu(dw1(x)))) of the tokens as a map, both depthwise with the padding that keeps the size.
///
///   heed::LocalConcentrationModule<float> concentrate{{.h = 14, .w = 14}};
///   auto y = concentrate(x);                                // or concentrate(device, x)
///
/// x and out (B, h w, C), tokens in row-major order; dw1.weight and dw2.weight (C, 1, k, k) with odd k (the authors':
/// 7), their biases (C); bn.{weight,bias,mean,var} (C). No residual inside. Maps smaller than the kernel see zeros
/// around them. Throws heed::Error for shapes and options that do not fit. Time O(B h w C k^2); the same bits for any
/// number of threads. Source: Zheng 2025 (L2ViT), the class LCM of the authors' code.
template <Real T>
struct LocalConcentrationModule {
  struct Options {
    Index h = 0;  ///< rows of the map
    Index w = 0;  ///< and columns
  };

  Options options = {};
  Conv2d<T> dw1 = {}, dw2 = {};
  BatchNorm<T> bn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "dw1.", dw1, "dw2.", dw2, "bn.", bn);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::LocalConcentrationModule: x is (B, h w, C)");
    const Index h = options.h, w = options.w, channels = sizes_of(x)[2];
    const auto map = map_of_tokens(kName, x, h, w);
    check("dw1.weight", dw1, channels);
    check("dw2.weight", dw2, channels);
    const auto first = depthwise_tokens(device, map, dw1.weight, dw1.bias, ConvOptions::same(size(dw1), channels));
    const auto active = gelu(device, first);                         // (B, h, w, C)
    const auto normal = bn(device, view(active).merge(0).merge(0));  // of all positions, (B h w, C)
    auto out = make_output<T, 3>(kName, sizes_of(x), x);
    conv_2d(device, view(normal).split(0, h * w).split(1, w).permute({0, 3, 1, 2}), dw2.weight, dw2.bias,
            ConvOptions::same(size(dw2), channels), view(out).split(1, w).permute({0, 3, 1, 2}));
    return out;
  }

 private:
  static constexpr std::string_view kName = "local_concentration_module";

  static Index size(const Conv2d<T>& layer) { return layer.weight.dimension(2); }
  static void check(std::string_view name, const Conv2d<T>& layer, Index channels) {
    require(size(layer) % 2 == 1, kName, name, " must have an odd kernel, got ", size(layer));
    require_shape(kName, name, const_view(layer.weight).sizes,
                  std::array<Index, 4>{channels, 1, size(layer), size(layer)});
  }
};

}  // namespace heed::inline HEED_ISA
