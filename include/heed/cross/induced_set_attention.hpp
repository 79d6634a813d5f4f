// SPDX-License-Identifier: Apache-2.0
// induced_set_attention: self-attention of a set by way of a few learned points.
#pragma once

#include "heed/block/repeat.hpp"
#include "heed/cross/multihead_attention_block.hpp"

namespace heed::inline HEED_ISA {

/// out = block1(x, h), h = block0(inducing, x), both MultiheadAttentionBlock.
///
///   heed::InducedSetAttention<float> attend{{.num_heads = 4}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, Ci), out (B, N, C), inducing (m, C), the same for all items; block0 with Cq = C and Ck = Ci, block1 with Cq
/// = Ci and Ck = C; the options are those of both blocks. m may exceed N. Throws heed::Error for shapes that do not
/// fit. O(B N m C) in place of O(B N^2 C). The same bits for any number of threads. Source: Lee et al. 2019 (Set
/// Transformer), eq. 9.
template <Real T>
struct InducedSetAttention {
  using Options = typename MultiheadAttentionBlock<T>::Options;

  Options options = {};
  Tensor<T, 2> inducing = {};  ///< (m, C)
  MultiheadAttentionBlock<T> block0 = {}, block1 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("inducing", inducing);
    visit_parts(f, "block0.", block0, "block1.", block1);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const auto h = block0.with(options, device, repeat_for(device, inducing, x), x);
    return block1.with(options, device, x, h);
  }
};

}  // namespace heed::inline HEED_ISA
