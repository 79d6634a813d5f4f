// SPDX-License-Identifier: Apache-2.0
// dual_transformer_block: attention among positions, then among channels, both linear in the positions.
#pragma once

#include "heed/channel/cross_covariance_attention.hpp"
#include "heed/channel/efficient_attention.hpp"
#include "heed/channel/mix_ffn.hpp"

namespace heed::inline HEED_ISA {

/// x += spatial(ln1(x)), x += mlp1(ln2(x)), x += channel(ln3(x)), x += mlp2(ln4(x)): spatial is an
/// EfficientAttention without residual, channel a CrossCovarianceAttention, mlp1 and mlp2 MixFfn.
///
///   heed::DualTransformerBlock<float> block{{.height = 14, .width = 14}};
///
/// x (B, N, C) with N = height * width, out as x; spatial.q.weight and spatial.k.weight (Dk, C), spatial.v.weight (Dv,
/// C), spatial.out.weight (C, Dv), their biases; channel.* as there, without biases of q, k and v in the paper, with
/// num_heads of channel.options (8); ln{1..4} (C); mlp1.* and mlp2.* (the paper: F = 4 C). Throws heed::Error for
/// shapes and options that do not fit. Time linear in N. The same bits for any number of threads. Source: Azad et al.
/// 2023 (DAE-Former), the authors' code; TransDAE describes the same pair.
template <Real T>
struct DualTransformerBlock {
  struct Options {
    Index height = 1, width = 1;
  };

  Options options = {};
  LayerNorm<T> ln1 = {}, ln2 = {}, ln3 = {}, ln4 = {};
  EfficientAttention<T> spatial{{.residual = false}};
  CrossCovarianceAttention<T> channel = {};
  MixFfn<T> mlp1 = {}, mlp2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "ln1.", ln1, "spatial.", spatial, "ln2.", ln2, "mlp1.", mlp1, "ln3.", ln3, "channel.", channel);
    visit_parts(f, "ln4.", ln4, "mlp2.", mlp2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_tokens_of(kName, "x", x, options.height, options.width);
    const Index channels = sizes_of(x)[2];
    mlp1.check(kName, "mlp1.", channels);
    mlp2.check(kName, "mlp2.", channels);
    const auto z = ln1(device, x);
    const auto map = spatial(device, view(z).split(1, options.width).permute({0, 3, 1, 2}));
    const auto x1 = add(device, x, view(map).merge(2).permute({0, 2, 1}));
    const auto x2 = add(device, x1, mlp1(device, ln2(device, x1), options.width));
    const auto x3 = add(device, x2, channel(device, ln3(device, x2)));
    return add(device, x3, mlp2(device, ln4(device, x3), options.width));
  }

 private:
  static constexpr std::string_view kName = "dual_transformer_block";
};

}  // namespace heed::inline HEED_ISA
