// SPDX-License-Identifier: Apache-2.0
// eeg_transformer_block: pre-norm attention and a feed-forward network, with the scale of the full width.
#pragma once

#include "heed/attention/projected_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// y = x + out(softmax(q k^T / sqrt(C)) v) of ln1(x), out = y + fc2(gelu(fc1(ln2(y)))). The scale is that of all
/// channels, not of a head's.
///
/// x (B, N, C), out as x; ln1, ln2 (C); q, k, v, out of weight (C, C) and bias (C) or empty; fc1.weight (F, C),
/// fc2.weight (C, F), F = 4 C in the paper. C is a multiple of num_heads. Throws heed::Error for shapes and options
/// that do not fit. Time O(B (N^2 C + N C^2)). The same bits for any number of threads. Source: Wang et al. 2025
/// (DBConformer), the authors' code, as in EEG Conformer.
template <Real T>
struct EegTransformerBlock {
  struct Options {
    Index num_heads = 10;
  };

  Options options = {};
  LayerNorm<T> ln1 = {}, ln2 = {};
  ProjectedAttention<T> attention = {};
  Mlp<T> mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "ln1.", ln1, "", attention, "ln2.", ln2, "", mlp);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::EegTransformerBlock: x is (B, N, C)");
    const Index channels = sizes_of(x)[2], hidden = mlp.fc1.weight.dimension(0);
    require(options.num_heads > 0 && channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    attention.check(kName, "", channels, channels, options.num_heads);
    check_linear(kName, "fc1", mlp.fc1, channels, hidden);
    check_linear(kName, "fc2", mlp.fc2, hidden, channels);
    const auto attend = softmax_attention(SoftmaxOptions{.scale = 1 / std::sqrt(double(channels))});
    const auto z = ln1(device, x);
    const auto y = add(device, x, attention(device, attend, options.num_heads, z, z, z));
    return add(device, y, mlp(device, Gelu(), ln2(device, y)));
  }

 private:
  static constexpr std::string_view kName = "eeg_transformer_block";
};

}  // namespace heed::inline HEED_ISA
