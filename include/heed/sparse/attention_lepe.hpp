// SPDX-License-Identifier: Apache-2.0
// attention_lepe: full attention with a depthwise convolution beside it.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// What the local positional branch convolves.
enum class LepeOn {
  kInput,  ///< x: the authors' channels-last code
  kValue   ///< v: their channels-first code
};

/// out = (attention(x) + lepe(x or v)) out.weight^T + out.bias, attention over all h w tokens of x, lepe a depthwise
/// convolution.
///
///   heed::AttentionLepe<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, h, w, C), out as x; qkv.weight (3 C, C), qkv.bias (3 C) or empty, out.weight (C, C), out.bias (C) or empty,
/// lepe.weight (C, 1, s, s) with s odd, lepe.bias (C) or empty; zeros around the map. Throws heed::Error for shapes and
/// options that do not fit. Time O(B (h w)^2 C + B h w C^2). Source: Zhu et al., CVPR 2023, BiFormer, its last stage.
template <Real T>
struct AttentionLepe {
  struct Options {
    Index num_heads = 8;
    LepeOn lepe_on = LepeOn::kInput;
    double scale = 0;  ///< 0: (C / num_heads)^-0.5
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  Conv2d<T> lepe = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out, "lepe.", lepe);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x_like) const {
    static_assert(kOperandRank<X> == 4, "heed::AttentionLepe: x is (B, h, w, C)");
    const auto sizes = sizes_of(x_like);
    const Index channels = sizes[3], heads = options.num_heads, kernel = lepe.weight.dimension(2);
    check_linear(kName, "qkv", qkv, channels, 3 * channels);
    check_linear(kName, "out", out, channels, channels);
    require_shape(kName, "lepe.weight", const_view(lepe.weight).sizes,
                  std::array<Index, 4>{channels, 1, kernel, kernel});
    require(kernel % 2 == 1, kName, "the kernel of lepe must be odd, got ", kernel);
    const auto packed = qkv(device, x_like);
    const auto rows = view(packed).merge(1);
    const auto part = [&](Index i) { return split_heads(rows.slice(2, i * channels, channels), heads); };
    SoftmaxOptions softmax;
    if (options.scale != 0) softmax.scale = options.scale;
    const auto mixed = attend_heads(device, softmax_attention(softmax), part(0), part(1), part(2));

    const auto convolved = [&](const auto& map) {
      return conv_2d(device, map.permute({0, 3, 1, 2}), lepe.weight, lepe.bias, ConvOptions::same(kernel, channels));
    };
    const auto local = options.lepe_on == LepeOn::kInput ? convolved(view(x_like))
                                                         : convolved(view(packed).slice(3, 2 * channels, channels));
    return out(device, add(device, view(mixed).split(1, sizes[2]), view(local).permute({0, 2, 3, 1})));
  }

 private:
  static constexpr std::string_view kName = "attention_lepe";
};

}  // namespace heed::inline HEED_ISA
