// SPDX-License-Identifier: Apache-2.0
// cosine_similarity of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/cosine_similarity.hpp"

namespace heed::inline HEED_ISA {

/// cosine_similarity where q or k is a Var; the other may be a tensor, which is then a parameter.
template <Device D, Operand Q, Operand K>
requires AnyRecorded<Q, K>
auto cosine_similarity(const D& device, const Q& q_like, const K& k_like, double eps = 1e-12) {
  auto& tape = tape_of("cosine_similarity", q_like, k_like);
  const auto q = tape.operand(q_like);
  const auto k = tape.operand(k_like);
  const auto out = tape.template make<4>(detail::cosine_sizes(q.sizes(), k.sizes(), eps));
  cosine_similarity(DeviceRef(device), q.value(), k.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, q, k, eps, out] {
    cosine_similarity_backward(tape.device(), q.value(), k.value(), eps, out.value(), tape.gradient(out),
                               tape.accumulate(q), tape.accumulate(k));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
