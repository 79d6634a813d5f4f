// SPDX-License-Identifier: Apache-2.0
// pair_wise_cross_attention: the queries of one image read it and a distractor under one softmax.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear_concat.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(softmax(q(x1) [k(x1) ; k(x2)]^T / sqrt(D)) [v(x1) ; v(x2)])).
///
///   heed::PairWiseCrossAttention<float> attend{{.num_heads = 12}};
///   auto y = attend(x1, x2);                                // or attend(device, x1, x2)
///
/// x1 (B, N, C), the target; x2 (B, M, C), the distractor, M from 0: without one it is self-attention; out (B, N, C);
/// q, k, v, out: C to C. Keys and values of both are written one behind the other where the attention reads them.
/// Throws heed::Error for shapes that do not fit. O(B N (N + M) C) for the attention. The same bits for any number of
/// threads. Source: Zhu et al. 2022 (Dual Cross-Attention Learning), section 3.3; transcription.
template <Real T>
struct PairWiseCrossAttention {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand X, Operand Y>
  auto operator()(const X& x1, const Y& x2) const {
    return (*this)(DeviceRef(), x1, x2);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& x1, const Y& x2) const {
    const auto keys = linear_concat(device, k, x1, k, x2);
    const auto values = linear_concat(device, v, x1, v, x2);
    return out(device, attend_heads(device, softmax_attention(), options.num_heads, q(device, x1), keys, values));
  }
};

}  // namespace heed::inline HEED_ISA
