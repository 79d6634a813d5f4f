// SPDX-License-Identifier: Apache-2.0
// attention_entropy_loss: the negative entropy of attention, a loss that spreads it.
#pragma once

#include "heed/block/copy_as.hpp"
#include "heed/block/entropy.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// (weight / G) times the sum over g and n of p ln p, p = softmax(x) over n: minus the mean entropy, in nats.
///
/// x (G, N), attention logits (G = 1, or heads); the result (1). Added to the loss of a bag it maximises entropy. A p
/// of 0 counts 0. Throws heed::Error for G = 0. The same bits for any number of threads. Source: Zhang et al. 2024
/// (AEM).
struct AttentionEntropyLoss {
  struct Options {
    double weight = 1;
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 2, "heed::AttentionEntropyLoss: x is (G, N)");
    require(sizes_of(x)[0] > 0, "attention_entropy_loss", "x must have a map, got shape ", shape_text(sizes_of(x)));
    const auto terms = activate(device, XLogX(), softmax(device, x));
    return copy_as<1>(device, sum(device, terms, {0, 1}, options.weight / double(sizes_of(x)[0])), {1});
  }
};

}  // namespace heed::inline HEED_ISA
