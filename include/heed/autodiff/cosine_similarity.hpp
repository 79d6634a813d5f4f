// SPDX-License-Identifier: Apache-2.0
// cosine_similarity of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/cosine_similarity.hpp"

namespace heed::inline HEED_ISA {

/// cosine_similarity into a variable that nothing has read yet; a tensor beside it is a parameter.
template <Device D, Operand Q, Operand K, Recorded O>
void cosine_similarity(const D& device, const Q& q_like, const K& k_like, double eps, const O& out) {
  auto& tape = tape_of("cosine_similarity", out);
  const auto q = tape.operand(q_like);
  const auto k = tape.operand(k_like);
  cosine_similarity(DeviceRef(device), q.value(), k.value(), eps, tape.written(out));
  tape.on_backward(out, [&tape, q, k, eps, out] {
    cosine_similarity_backward(tape.device(), q.value(), k.value(), eps, out.value(), tape.gradient(out),
                               tape.accumulate(q), tape.accumulate(k));
  });
}

}  // namespace heed::inline HEED_ISA
