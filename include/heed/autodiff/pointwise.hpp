// SPDX-License-Identifier: Apache-2.0
// pointwise of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/pointwise.hpp"

namespace heed::inline HEED_ISA {

/// pointwise where an operand is a Var; the others may be tensors, which are then parameters.
template <class F, Device D, Operand First, Operand... Rest>
requires AnyRecorded<First, Rest...>
auto pointwise(const F& f, const D& device, const First& first, const Rest&... rest) {
  auto& tape = tape_of(F::kName, first, rest...);
  const auto record = [&](const auto&... x) {
    const auto sizes = detail::pointwise_sizes(F::kName, x...);
    const auto out = tape.template make<int(std::tuple_size_v<std::remove_const_t<decltype(sizes)>>)>(sizes);
    pointwise_into(f, DeviceRef(device), tape.written(out), x.value()...);
    tape.on_backward(out, [&tape, f, out, x...] {
      pointwise_backward(f, tape.device(), tape.gradient(out), std::make_tuple(tape.accumulate(x)...), x.value()...);
    });
    return out;
  };
  return record(tape.operand(first), tape.operand(rest)...);
}

/// pointwise_sum where an operand is a Var.
template <class F, Device D, std::size_t Count, Operand First, Operand... Rest>
requires AnyRecorded<First, Rest...>
auto pointwise_sum(const F& f, const D& device, const int (&axes)[Count], const First& first, const Rest&... rest) {
  auto& tape = tape_of(F::kName, first, rest...);
  const auto record = [&](const auto&... x) {
    const auto sizes = detail::pointwise_sizes(F::kName, x...);
    const auto out = tape.template make<int(std::tuple_size_v<std::remove_const_t<decltype(sizes)>>)>(
        detail::reduced_sizes(F::kName, sizes, std::to_array(axes)));
    detail::pointwise_sum_into(f, DeviceRef(device), tape.written(out), sizes, x.value()...);
    tape.on_backward(out, [&tape, f, out, x...] {
      pointwise_sum_backward(f, tape.device(), tape.gradient(out), std::make_tuple(tape.accumulate(x)...),
                             x.value()...);
    });
    return out;
  };
  return record(tape.operand(first), tape.operand(rest)...);
}

}  // namespace heed::inline HEED_ISA
