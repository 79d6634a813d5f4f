// SPDX-License-Identifier: Apache-2.0
// gathered_attention of variables.
#pragma once

#include "heed/attention/gathered.hpp"
#include "heed/autodiff/tape.hpp"

namespace heed::inline HEED_ISA {

/// gathered_attention into a variable that nothing has read yet; a bias on no tape is none. The tape keeps a copy of
/// the lists.
template <Device D, Real T>
void gathered_attention(const D& device, const Var<T, 4>& q, const Var<T, 4>& k, const Var<T, 4>& v,
                        const View<const std::int32_t, 4>& keys, const Var<T, 4>& bias, double scale,
                        const Var<T, 4>& out) {
  auto& tape = tape_of("gathered_attention", q);
  const auto kept = tape.keep(keys);
  const View<const T, 4> added = bias.tape() ? bias.value() : View<const T, 4>();
  gathered_attention(DeviceRef(device), q.value(), k.value(), v.value(), kept, added, scale, tape.written(out));
  tape.on_backward(out, [&tape, q, k, v, kept, added, bias, scale, out] {
    gathered_attention_backward(tape.device(), q.value(), k.value(), v.value(), kept, added, scale, tape.gradient(out),
                                tape.accumulate(q), tape.accumulate(k), tape.accumulate(v),
                                bias.tape() ? tape.accumulate(bias) : View<T, 4>());
  });
}

}  // namespace heed::inline HEED_ISA
