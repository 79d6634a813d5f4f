// SPDX-License-Identifier: Apache-2.0
// cross_entropy of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/cross_entropy.hpp"

namespace heed::inline HEED_ISA {

/// cross_entropy where the logits are a Var: a Var of one element, for tape.backward(loss). The tape keeps a copy
/// of the targets.
template <Device D, Recorded X, TensorLike Y, Recorded O>
void cross_entropy(const D& device, const X& logits, const Y& targets, const CrossEntropyOptions& options,
                   const O& out) {
  auto& tape = tape_of("cross_entropy", logits);
  const auto x = tape.operand(logits);
  const auto classes = tape.keep(const_view(targets));
  cross_entropy(DeviceRef(device), x.value(), classes, options, tape.written(out));
  tape.on_backward(out, [&tape, x, classes, options, out] {
    cross_entropy_backward(tape.device(), x.value(), classes, options, tape.gradient(out), tape.accumulate(x));
  });
}

}  // namespace heed::inline HEED_ISA
