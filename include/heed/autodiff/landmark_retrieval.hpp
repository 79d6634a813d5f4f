// SPDX-License-Identifier: Apache-2.0
// retrieve_landmark_blocks of variables.
#pragma once

#include "heed/attention/normalizer/landmark_retrieval.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// retrieve_landmark_blocks where q, k or v is a Var, into the variable `out`, which nothing has read yet. The tape
/// keeps copies of the indices and of the angles; the blocks must outlive the recording.
template <Device D, Operand Q, Operand K, Operand V, Real T, Recorded O>
void retrieve_landmark_blocks(const D& device, const Q& q_like, const K& k_like, const V& v_like,
                              const View<const std::uint8_t, 2>& is_landmark, const ChosenBlocks<T>& given,
                              double scale, const O& out) {
  auto& tape = tape_of("landmark_retrieval_attention", out);
  const auto q = tape.operand(q_like), k = tape.operand(k_like), v = tape.operand(v_like);
  const auto marks = tape.keep(is_landmark);
  ChosenBlocks<T> blocks = given;
  blocks.chosen = tape.keep(given.chosen);
  if (given.cos.data) {
    blocks.cos = tape.keep(given.cos);
    blocks.sin = tape.keep(given.sin);
  }
  retrieve_landmark_blocks(DeviceRef(device), q.value(), k.value(), v.value(), marks, blocks, scale, tape.written(out));
  tape.on_backward(out, [&tape, q, k, v, marks, blocks, scale, out] {
    retrieve_landmark_blocks_backward(tape.device(), q.value(), k.value(), v.value(), marks, blocks, scale,
                                      tape.gradient(out), tape.accumulate(q), tape.accumulate(k), tape.accumulate(v));
  });
}

}  // namespace heed::inline HEED_ISA
