// SPDX-License-Identifier: Apache-2.0
// rotate of a variable.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// rotate of a Var of rank 2 to 4 into another, which nothing has read yet.
template <Device D, Recorded X>
void rotate(const D& device, const X& x, const View<const std::int32_t, 2>& positions, const RotaryOptions& options,
            const X& out, std::string_view where = "rotate") {
  auto& tape = tape_of(where, x);
  rotate(DeviceRef(device), x.value().template promote<4>(), positions, options,
         tape.written(out).template promote<4>(), where);
  tape.on_backward(out, [&tape, x, out, options, kept = tape.keep(positions)] {
    rotate_backward(tape.device(), tape.gradient(out).template promote<4>(), kept, options,
                    tape.accumulate(x).template promote<4>());
  });
}
/// rotate of a Var of rank 2 to 4.
template <Device D, Recorded X>
X rotate(const D& device, const X& x, const View<const std::int32_t, 2>& positions, const RotaryOptions& options,
         std::string_view where = "rotate") {
  const X out = tape_of(where, x).template make<X::rank>(x.sizes());
  rotate(device, x, positions, options, out, where);
  return out;
}
/// The same by a table, which must live until the tape is cleared.
template <Device D, Recorded X>
X rotate(const D& device, const X& x, const View<const std::int32_t, 2>& positions, const RotaryOptions& options,
         const RotaryTable<typename X::Scalar>& table, std::string_view where = "rotate") {
  auto& tape = tape_of(where, x);
  const X out = tape.template make<X::rank>(x.sizes());
  rotate(DeviceRef(device), x.value().template promote<4>(), positions, options, table,
         tape.written(out).template promote<4>(), where);
  tape.on_backward(out, [&tape, &table, x, out, options, kept = tape.keep(positions)] {
    rotate_backward(tape.device(), tape.gradient(out).template promote<4>(), kept, options, table,
                    tape.accumulate(x).template promote<4>());
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
