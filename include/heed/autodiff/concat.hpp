// SPDX-License-Identifier: Apache-2.0
// Copies of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// concat into a Var that nothing has read yet; tensors among the parts are parameters.
template <int Axis, Recorded O, Device D, Operand... X>
void concat_into(const D& device, const O& out, const X&... x) {
  auto& tape = tape_of("concat", out);
  const auto record = [&](const auto&... part) {
    concat_into<Axis>(DeviceRef(device), tape.written(out), part.value()...);
    tape.on_backward(out, [&tape, out, part...] {
      concat_backward<Axis>(tape.device(), tape.gradient(out), tape.accumulate(part)...);
    });
  };
  record(tape.operand(x)...);
}
/// concat where a part is a Var.
template <int Axis, Device D, Operand First, Operand... Rest>
requires AnyRecorded<First, Rest...>
auto concat(const D& device, const First& first, const Rest&... rest) {
  auto& tape = tape_of("concat", first, rest...);
  const auto out = tape.template make<kOperandRank<First>>(detail::concat_sizes<Axis>(first, rest...));
  concat_into<Axis>(device, out, first, rest...);
  return out;
}

/// contiguous of a Var.
template <Device D, Recorded X>
X contiguous(const D& device, const X& x) {
  return concat<0>(device, x);
}

}  // namespace heed::inline HEED_ISA
