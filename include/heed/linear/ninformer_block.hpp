// SPDX-License-Identifier: Apache-2.0
// ninformer_block: a mixer gating unit and a feed-forward network, each behind the same norm.
#pragma once

#include "heed/linear/mixer_gating_unit.hpp"

namespace heed::inline HEED_ISA {

/// y = x + MGU(norm(x)), out = y + ffn(norm(y)), ffn(z) = fc2(gelu(fc1(z))): both norms are one layer norm, with one
/// set of parameters.
///
/// x and out (B, N, C); mgu., the parameters of MixerGatingUnit, which fix N; norm.{weight,bias} (C); ffn.fc1.weight
/// (F, C), ffn.fc2.weight (C, F), with biases. Throws heed::Error for shapes that do not fit. The same bits for any
/// number of threads. Source: Abdullah and Aydin 2024 (NiNformer), the authors' code.
template <Real T>
struct NinformerBlock {
  MixerGatingUnit<T> mgu = {};
  LayerNorm<T> norm = {};
  Mlp<T> ffn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "mgu.", mgu, "norm.", norm, "ffn.", ffn);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::NinformerBlock: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], inner = ffn.fc1.weight.dimension(0);
    check_linear("ninformer_block", "ffn.fc1", ffn.fc1, channels, inner);
    check_linear("ninformer_block", "ffn.fc2", ffn.fc2, inner, channels);
    const auto y = add(device, x, mgu(device, norm(device, x)));
    return add(device, y, ffn(device, Gelu(), norm(device, y)));
  }
};

}  // namespace heed::inline HEED_ISA
