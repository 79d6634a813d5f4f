// SPDX-License-Identifier: Apache-2.0
// dlkppm: a pyramid of pooled maps, joined one after the other, with large separable kernels on the finest.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/norm_conv.hpp"
#include "heed/block/resample.hpp"
#include "heed/block/residual.hpp"
#include "heed/neighborhood/visual_attention.hpp"

namespace heed::inline HEED_ISA {

/// With s_n(t) = conv of one position(relu(bn(t))) and c_n(t; d) the same with a 3x3 convolution of dilation d, both of
/// group n, `up` to h x w, and l = y_0 + layer_scale lska(bn(y_0)), lska a VisualAttention with a
/// LargeSeparableKernelAttention:
///
///   y_0 = s_scale0(x)
///   y_1 = c_process1(up(s_scale1(mean of 5x5, every 2nd)) + y_0; 2)
///   y_2 = c_process2(up(s_scale2(mean of 9x9, every 4th)) + y_1; 2)
///   y_3 = c_process_lska(l + y_2; 1)
///   y_4 = c_process4(up(s_scale4(means of 2x2 cells)) + y_3; 1)
///   y_5 = c_process5(up(s_scale5(mean of all)) + y_4; 1)
///   out = s_compression([y_0 .. y_5]) + s_shortcut(x)
///
///   heed::Dlkppm<float> pool;
///   auto y = pool(x);                                       // or pool(device, x)
///
/// x (B, C, h, w) with h and w from 1, out (B, O, h, w); scale{0,1,2,4,5}.bn (C) and .conv.weight (P, C);
/// process{1,2,4,5} and process_lska: .bn (P), .conv.weight (P, P, 3, 3); bn and layer_scale (P); lska., the parameters
/// of that part; compression.bn (6 P), compression.conv.weight (O, 6 P); shortcut.bn (C), shortcut.conv.weight (O, C).
/// Means with a stride count the zeros of their padding (2 and 4). No biases but in lska. Throws heed::Error for shapes
/// that do not fit and maps without positions. The same bits for any number of threads.
/// Source: Huang et al. 2025 (BEVANet), the class DLKPPM of the authors' code.
template <Real T>
struct Dlkppm {
  using Scale = NormConv<T, ConvChannels>;
  using Process = NormConv<T, Conv2d>;

  Scale scale0 = {}, scale1 = {}, scale2 = {}, scale4 = {}, scale5 = {};
  Process process1 = {}, process2 = {}, process_lska = {}, process4 = {}, process5 = {};
  BatchNorm<T> bn = {};
  VisualAttention<T, LargeSeparableKernelAttention<T>> lska = {};
  Tensor<T, 1> layer_scale = {};
  Scale compression = {}, shortcut = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "scale0.", scale0, "scale1.", scale1, "scale2.", scale2, "scale4.", scale4, "scale5.", scale5);
    visit_parts(f, "process1.", process1, "process2.", process2, "process_lska.", process_lska, "process4.", process4);
    visit_parts(f, "process5.", process5, "bn.", bn, "lska.", lska);
    f("layer_scale", layer_scale);
    visit_parts(f, "compression.", compression, "shortcut.", shortcut);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    check(sizes_of(x)[1]);
    const std::array<Index, 2> size{sizes_of(x)[2], sizes_of(x)[3]};
    const auto pooled = [&](Index kernel, Index stride) {
      return average_pool(
          device, x, {.kernel = {kernel, kernel}, .stride = {stride, stride}, .padding = {kernel / 2, kernel / 2}});
    };
    const auto joined = [&](const Process& process, const Scale& scale, const auto& pool, const auto& before,
                            Index dilation) {
      const auto up = resize_bilinear(device, scale(device, pool), size);
      return process(device, add(device, up, before), ConvOptions::same(3, 1, 1, dilation));
    };
    const auto y0 = scale0(device, x);
    const auto large = add_product(device, y0, lska(device, bn(device, y0)), view(layer_scale).split(0, 1).split(1, 1));
    const auto y1 = joined(process1, scale1, pooled(5, 2), y0, 2);
    const auto y2 = joined(process2, scale2, pooled(9, 4), y1, 2);
    const auto y3 = process_lska(device, add(device, large, y2), ConvOptions::same(3));
    const auto y4 = joined(process4, scale4, adaptive_average_pool(device, x, {2, 2}), y3, 1);
    const auto y5 = joined(process5, scale5, adaptive_average_pool(device, x, {1, 1}), y4, 1);
    const auto compressed = compression(device, concat<1>(device, y0, y1, y2, y3, y4, y5));
    return add(device, compressed, shortcut(device, x));
  }

 private:
  static constexpr std::string_view kName = "dlkppm";

  void check(Index channels) const {
    const Index inner = scale0.conv.weight.dimension(0), outs = compression.conv.weight.dimension(0);
    const Scale* const scales[]{&scale0, &scale1, &scale2, &scale4, &scale5};
    const char* const scale_names[]{"scale0", "scale1", "scale2", "scale4", "scale5"};
    const Process* const processes[]{&process1, &process2, &process_lska, &process4, &process5};
    const char* const process_names[]{"process1", "process2", "process_lska", "process4", "process5"};
    for (int i = 0; i < 5; ++i) {
      require_parameter(kName, std::string(scale_names[i]) + ".conv.weight", scales[i]->conv.weight, {inner, channels});
      require_parameter(kName, std::string(process_names[i]) + ".conv.weight", processes[i]->conv.weight,
                        {inner, inner, 3, 3});
    }
    require_parameter(kName, "layer_scale", layer_scale, {inner});
    require_parameter(kName, "compression.conv.weight", compression.conv.weight, {-1, 6 * inner});
    require_parameter(kName, "shortcut.conv.weight", shortcut.conv.weight, {outs, channels});
    require(lska.unit.options.mode == LargeSeparableKernelAttention<T>::Mode::kBoth, kName,
            "lska.unit has kernels of both directions");
  }
};

}  // namespace heed::inline HEED_ISA
