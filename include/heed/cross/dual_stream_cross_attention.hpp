// SPDX-License-Identifier: Apache-2.0
// dual_stream_cross_attention: the tokens of one stream query those of the other once.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// out = norm_mlp(relu(mlp(z))) with z = rule + norm_cross(cross(rule, stim)): the norm is on the branch, not on the
/// sum.
///
///   heed::DualStreamCrossAttention<float> fuse{{.num_heads = 4}};
///   auto y = fuse(rule, stim);                              // or fuse(device, rule, stim)
///
/// rule (B, Nr, C) and stim (B, Ns, C), each behind its own transformer block; out (B, Nr, F). cross.q, .k, .v, .out C
/// to C, mlp.fc1 C to F, mlp.fc2 F to F, biases optional; norm_cross (C), norm_mlp (F). mlp has a ReLU behind both
/// layers. Throws heed::Error for shapes that do not fit. Time O(Nr Ns C). The same bits for any number of threads.
/// Source: Ito et al. 2024 (gCOG), the authors' SimpleCrossAttn.
template <Real T>
struct DualStreamCrossAttention {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  ProjectedAttention<T> cross = {};
  LayerNorm<T> norm_cross = {};
  Mlp<T> mlp = {};
  LayerNorm<T> norm_mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "cross.", cross, "norm_cross.", norm_cross, "mlp.", mlp, "norm_mlp.", norm_mlp);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& rule, const Y& stim) const {
    return (*this)(DeviceRef(), rule, stim);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& rule, const Y& stim) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::DualStreamCrossAttention: rule and stim are (B, tokens, C)");
    const Index channels = sizes_of(rule)[2];
    require(sizes_of(stim)[0] == sizes_of(rule)[0], kName,
            "stim must have shape (B, Ns, C) with B = ", sizes_of(rule)[0], ", got ", shape_text(sizes_of(stim)));
    cross.check(kName, "cross.", channels, sizes_of(stim)[2], options.num_heads);
    check_mlp(kName, "mlp", mlp, channels, mlp.fc2.weight.dimension(0));
    const auto read = cross(device, softmax_attention(), options.num_heads, rule, stim, stim);
    const auto z = add(device, rule, norm_cross(device, read));
    return norm_mlp(device, relu(device, mlp(device, Relu(), z)));
  }

 private:
  static constexpr std::string_view kName = "dual_stream_cross_attention";
};

}  // namespace heed::inline HEED_ISA
