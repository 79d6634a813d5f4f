// SPDX-License-Identifier: Apache-2.0
// multihead_attention_block: attention whose residual is the projected query (the block of set transformers).
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// o = norm0(Q + join(softmax(Q K^T / sqrt(C)) V)), out = norm1(o + relu(out(o))), Q = q(query), K = k(key), V =
/// v(key).
///
///   heed::MultiheadAttentionBlock<float> block{{.num_heads = 4, .layer_norm = true}};
///   auto y = block(query, key);                             // or block(device, query, key); block(x, x) is a SAB
///
/// query (B, N, Cq), key (B, M, Ck), out (B, N, C); q: Cq to C, k and v: Ck to C, out: C to C; norm0 and norm1 (C), and
/// their steps, only with layer_norm. The scale is that of the full width C, not of a head. The order of the keys does
/// not matter but for rounding. Throws heed::Error for shapes that do not fit. O(B N M C) for the attention. The same
/// bits for any number of threads. Source: Lee et al. 2019 (Set Transformer), eq. 6-8; the scale is the authors' code.
template <Real T>
struct MultiheadAttentionBlock {
  struct Options {
    Index num_heads = 1;
    bool layer_norm = false;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  LayerNorm<T> norm0 = {}, norm1 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "norm0.", norm0, "norm1.", norm1);
  }

  template <Operand Q, Operand K>
  auto operator()(const Q& query, const K& key) const {
    return (*this)(DeviceRef(), query, key);
  }
  template <Device D, Operand Q, Operand K>
  auto operator()(const D& device, const Q& query, const K& key) const {
    return with(options, device, query, key);
  }
  /// The same with other options: those of what it is a part of.
  template <Device D, Operand Q, Operand K>
  auto with(const Options& by, const D& device, const Q& query, const K& key) const {
    static_assert(kOperandRank<Q> == 3 && kOperandRank<K> == 3,
                  "heed::MultiheadAttentionBlock: query is (B, N, Cq), key (B, M, Ck)");
    const auto queries = q(device, query);
    const auto attend = softmax_attention({.scale = 1 / std::sqrt(double(sizes_of(queries)[2]))});
    const auto mixed = attend_heads(device, attend, by.num_heads, queries, k(device, key), v(device, key));
    auto o = add(device, queries, mixed);
    if (by.layer_norm) o = norm0(device, o);
    const auto active = relu(device, out(device, o));
    auto result = add(device, o, active);
    if (by.layer_norm) result = norm1(device, result);
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
