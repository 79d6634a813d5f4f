// SPDX-License-Identifier: Apache-2.0
// merge_routes of variables.
#pragma once

#include "heed/attention/merge_routes.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// merge_routes into a variable that nothing has read yet. The tape keeps a copy of the places.
template <Device D, Real T>
void merge_routes(const D& device, const Var<T, 4>& outputs, const Var<T, 3>& lses,
                  const View<const std::int32_t, 4>& place, const Var<T, 4>& out) {
  auto& tape = tape_of("merge_routes", outputs);
  merge_routes(DeviceRef(device), outputs.value(), lses.value(), place, tape.written(out));
  tape.on_backward(out, [&tape, outputs, lses, out, kept = tape.keep(place)] {
    merge_routes_backward(tape.device(), outputs.value(), lses.value(), kept, tape.gradient(out),
                          tape.accumulate(outputs), tape.accumulate(lses));
  });
}

}  // namespace heed::inline HEED_ISA
