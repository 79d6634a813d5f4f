// SPDX-License-Identifier: Apache-2.0
// comprehensive_kernel_selection: three branches, each gated per channel and per position by all of them.
#pragma once

#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/neighborhood/large_kernel_attention.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The sum of all operands.
struct SumOf {
  static constexpr std::string_view kName = "sum_of";
  template <Real T, class... B>
  simd::Batch<T> value(B... x) const {
    return (x + ...);
  }
  template <int, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, B...) const {
    return d;
  }
};

/// a ca pa + b cb pb + c cc pc, of the operands a, b, c, ca, cb, cc, pa, pb, pc.
struct DoublyGatedSum {
  static constexpr std::string_view kName = "comprehensive_kernel_selection";
  template <Real T, class... B>
  simd::Batch<T> value(B... x) const {
    const simd::Batch<T> all[]{x...};
    return simd::fma(all[0] * all[3], all[6], simd::fma(all[1] * all[4], all[7], all[2] * all[5] * all[8]));
  }
  template <int Operand, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, B... x) const {
    const simd::Batch<T> all[]{x...};
    return d * all[(Operand + 3) % 9] * all[(Operand + 6) % 9];
  }
};

}  // namespace detail

/// out = small c_s p_s + horizontal c_h p_h + vertical c_v p_v, of a = small + horizontal + vertical:
///
/// - per channel, c_b = sigmoid(relu(b.bn(b.dw(b.pw(z))))), z = relu(reduce.bn(reduce.dw(reduce.pw(mean of each channel
///   of a)))); pw is across channels, dw a depthwise 3x3 convolution, of which only the centre acts on one position.
///   The relu keeps c_b in [1/2, 1).
/// - per position, p = sigmoid(spatial.conv([mean, largest of the channels of a])), 7x7, a channel for each branch.
///
///   heed::ComprehensiveKernelSelection<float> select;
///   auto y = select(small, horizontal, vertical);           // or select(device, ..)
///
/// All maps (B, C, h, w); reduce.pw.weight (R, C), reduce.dw.weight (R, 1, 3, 3), reduce.{pw,dw}.bias and
/// reduce.bn.{weight,bias,mean,var} (R), R from the shapes (the authors': max(C / 16, 32));
/// {small,horizontal,vertical}. pw.weight (C, R), .dw.weight (C, 1, 3, 3), biases and .bn (C); spatial.conv.weight (3,
/// 2, 7, 7), spatial.conv.bias (3). The largest passes its gradient to the first channel that has it. Throws
/// heed::Error for shapes that do not fit and maps without positions. Time O(B h w (C + 294)); the same bits for any
/// number of threads. Source: Huang et al. 2025 (BEVANet), the class CKS of the authors' code.
template <Real T>
struct ComprehensiveKernelSelection {
  struct ChannelLayer {
    ConvChannels<T> pw = {};
    Conv2d<T> dw = {};
    BatchNorm<T> bn = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "pw.", pw, "dw.", dw, "bn.", bn);
    }
  };

  ChannelLayer reduce = {}, small = {}, horizontal = {}, vertical = {};
  Conv2d<T> spatial_conv = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "reduce.", reduce, "small.", small, "horizontal.", horizontal);
    visit_parts(f, "vertical.", vertical, "spatial.conv.", spatial_conv);
  }

  template <Operand S, Operand H, Operand V>
  auto operator()(const S& small_map, const H& horizontal_map, const V& vertical_map) const {
    return (*this)(DeviceRef(), small_map, horizontal_map, vertical_map);
  }
  template <Device D, Operand S, Operand H, Operand V>
  auto operator()(const D& device, const S& small_map, const H& horizontal_map, const V& vertical_map) const {
    require_map(kName, small_map);
    require_shape(kName, "horizontal", sizes_of(horizontal_map), sizes_of(small_map));
    require_shape(kName, "vertical", sizes_of(vertical_map), sizes_of(small_map));
    require_parameter(kName, "spatial.conv.weight", spatial_conv.weight, {3, 2, 7, 7});
    const Index channels = sizes_of(small_map)[1], inner = reduce.pw.weight.dimension(0);
    const auto all = pointwise(detail::SumOf(), device, small_map, horizontal_map, vertical_map);

    const auto z = excite(device, "reduce", reduce, mean(device, all, {2, 3}), inner);
    const auto c_s = sigmoid(device, excite(device, "small", small, z, channels));
    const auto c_h = sigmoid(device, excite(device, "horizontal", horizontal, z, channels));
    const auto c_v = sigmoid(device, excite(device, "vertical", vertical, z, channels));

    const auto both = concat<1>(device, mean(device, all, {1}), max(device, all, {1}));
    const auto p = sigmoid(device, conv_2d(device, both, spatial_conv.weight, spatial_conv.bias, ConvOptions::same(7)));
    const auto of = [&](Index branch) { return view(p).slice(1, branch, 1); };
    return pointwise(detail::DoublyGatedSum(), device, small_map, horizontal_map, vertical_map, c_s, c_h, c_v, of(0),
                     of(1), of(2));
  }

 private:
  static constexpr std::string_view kName = "comprehensive_kernel_selection";

  template <class D, class X>
  static auto excite(const D& device, const std::string& name, const ChannelLayer& layer, const X& x, Index channels) {
    require_parameter(kName, name + ".pw.weight", layer.pw.weight, {channels, sizes_of(x)[1]});
    const auto mixed = layer.pw(device, x);
    const auto centre = detail::depthwise_same(device, kName, name + ".dw", mixed, layer.dw);
    return relu(device, layer.bn(device, centre));
  }
};

}  // namespace heed::inline HEED_ISA
