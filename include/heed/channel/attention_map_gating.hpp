// SPDX-License-Identifier: Apache-2.0
// attention_map_gating: a one-channel map of one feature gates another.
#pragma once

#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = conv(attention * d), attention = sigmoid(BN(att(a))), both convolutions with kernels of one position.
///
/// a and d (B, C, h, w), out and attention (B, 1, h, w); att.weight (1, C), att.bias (1), att_bn.{weight,bias,mean,var}
/// (1), out.weight (1, C), out.bias (1). Throws heed::Error for shapes that do not fit and maps without positions. Time
/// O(B C h w). The same bits for any number of threads.
/// Source: Thanasutives et al. 2020 (M-SFANet), its attention-map path.
template <Real T>
struct AttentionMapGating {
  template <class Map>
  struct Result {
    Map out;
    Map attention;
  };

  ConvChannels<T> att = {};
  BatchNorm<T> att_bn = {};
  ConvChannels<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "att.", att, "att_bn.", att_bn, "out.", out);
  }

  template <Operand A, Operand X>
  auto operator()(const A& a, const X& d) const {
    return (*this)(DeviceRef(), a, d);
  }
  template <Device D, Operand A, Operand X>
  auto operator()(const D& device, const A& a, const X& d) const {
    require_map(kName, a);
    require_shape(kName, "d", sizes_of(d), sizes_of(a));
    require_parameter(kName, "att.weight", att.weight, {1, sizes_of(a)[1]});
    require_parameter(kName, "out.weight", out.weight, {1, sizes_of(a)[1]});
    auto attention = sigmoid(device, att_bn(device, att(device, a)));
    auto density = out(device, gate(device, d, attention));
    return Result<decltype(density)>{density, attention};
  }

 private:
  static constexpr std::string_view kName = "attention_map_gating";
};

}  // namespace heed::inline HEED_ISA
