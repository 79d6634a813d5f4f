// SPDX-License-Identifier: Apache-2.0
// softmax_scan of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/scan/softmax_scan.hpp"

namespace heed::inline HEED_ISA {

/// softmax_scan where g or v is a Var; the other may be a tensor, which is then a parameter.
template <Device D, Operand G, Operand V>
requires AnyRecorded<G, V>
auto softmax_scan(const D& device, const G& g_like, const V& v_like, bool causal) {
  auto& tape = tape_of("softmax_scan", g_like, v_like);
  const auto g = tape.operand(g_like);
  const auto v = tape.operand(v_like);
  const auto out = tape.template make<4>(v.sizes());
  softmax_scan(DeviceRef(device), g.value(), v.value(), causal, tape.written(out));
  tape.on_backward(out, [&tape, g, v, causal, out] {
    softmax_scan_backward(tape.device(), g.value(), v.value(), causal, out.value(), tape.gradient(out),
                          tape.accumulate(g), tape.accumulate(v));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
