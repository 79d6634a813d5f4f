// SPDX-License-Identifier: Apache-2.0
// Copies of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// concat where a part is a Var; the others may be tensors, which are then parameters.
template <int Axis, Device D, Operand First, Operand... Rest>
requires AnyRecorded<First, Rest...>
auto concat(const D& device, const First& first, const Rest&... rest) {
  auto& tape = tape_of("concat", first, rest...);
  const auto record = [&](const auto&... part) {
    const auto out = tape.template make<kOperandRank<First>>(detail::concat_sizes<Axis>(part...));
    concat_into<Axis>(DeviceRef(device), tape.written(out), part.value()...);
    tape.on_backward(out, [&tape, out, part...] {
      concat_backward<Axis>(tape.device(), tape.gradient(out), tape.accumulate(part)...);
    });
    return out;
  };
  return record(tape.operand(first), tape.operand(rest)...);
}

/// contiguous of a Var.
template <Device D, Recorded X>
X contiguous(const D& device, const X& x) {
  return concat<0>(device, x);
}

}  // namespace heed::inline HEED_ISA
