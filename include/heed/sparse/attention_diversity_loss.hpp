// SPDX-License-Identifier: Apache-2.0
// attention_diversity_loss: how alike the branches of a multiple-instance attention are.
#pragma once

#include "heed/block/copy_as.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// The mean over g, and over the K (K - 1) / 2 pairs of branches, of the cosine of softmax(x(g, k)) and softmax(x(g,
/// l)).
///
/// x (G, K, N), attention logits (G = 1, or heads); the result (1), 0 for one branch. It is added to the losses of bag
/// and branches with weight 1. Time O(G K N (K + 1)). The same bits for any number of threads. Source: Zhang et al.
/// 2024 (ACMIL).
struct AttentionDiversityLoss {
  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::AttentionDiversityLoss: x is (G, K, N)");
    const Index branches = sizes_of(x)[1];
    const double pairs = double(sizes_of(x)[0] * branches * (branches - 1)) / 2;
    const auto unit = l2_normalize(device, softmax(device, x));
    const auto cosines = matmul(device, unit, view(unit).permute({0, 2, 1}));
    Tensor<std::uint8_t, 3> above(1, branches, branches);
    for (Index i = 0; i < branches; ++i)
      for (Index j = 0; j < branches; ++j) above(0, i, j) = j > i;
    const auto of_pairs = masked_fill(device, cosines, above, 0);
    return copy_as<1>(device, sum(device, of_pairs, {0, 1, 2}, 1 / std::max(1.0, pairs)), {1});
  }
};

}  // namespace heed::inline HEED_ISA
