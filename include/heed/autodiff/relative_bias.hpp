// SPDX-License-Identifier: Apache-2.0
// relative_bias of a variable.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/relative_bias.hpp"

namespace heed::inline HEED_ISA {

/// relative_bias of a table that is a Var.
template <Device D, Real T>
Var<T, 3> relative_bias(const D& device, const Var<T, 2>& table, const View<const std::int32_t, 1>& buckets,
                        Index queries, Index keys) {
  auto& tape = tape_of("relative_bias", table);
  detail::check_relative_bias(table.size(0), buckets, queries, keys);
  const Var<T, 3> out = tape.template make<3>({table.size(1), queries, keys});
  relative_bias(DeviceRef(device), table.value(), buckets, tape.written(out));
  tape.on_backward(out, [&tape, table, out, kept = tape.keep(buckets)] {
    relative_bias_backward(tape.device(), kept, tape.gradient(out), tape.accumulate(table));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
