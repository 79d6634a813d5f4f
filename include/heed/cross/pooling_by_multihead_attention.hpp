// SPDX-License-Identifier: Apache-2.0
// pooling_by_multihead_attention: learned seeds read a set.
#pragma once

#include "heed/block/repeat.hpp"
#include "heed/cross/multihead_attention_block.hpp"

namespace heed::inline HEED_ISA {

/// out = block(seeds, x), a MultiheadAttentionBlock.
///
///   heed::PoolingByMultiheadAttention<float> pool{{.num_heads = 4}};
///   auto y = pool(x);                                       // or pool(device, x)
///
/// x (B, N, C), out (B, k, C), seeds (k, C), the same for all items; parameters and options of the block, Cq = Ck = C.
/// k may exceed N, and the order of x does not matter but for rounding. Throws heed::Error for shapes that do not fit.
/// O(B k N C). The same bits for any number of threads. Source: Lee et al. 2019 (Set Transformer), eq. 11.
template <Real T>
struct PoolingByMultiheadAttention {
  using Options = typename MultiheadAttentionBlock<T>::Options;

  Options options = {};
  Tensor<T, 2> seeds = {};  ///< (k, C)
  MultiheadAttentionBlock<T> block = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("seeds", seeds);
    visit_part("", block, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return block.with(options, device, repeat_for(device, seeds, x), x);
  }
};

}  // namespace heed::inline HEED_ISA
