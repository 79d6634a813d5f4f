// SPDX-License-Identifier: Apache-2.0
// A routed operator in turn with the dense engine on the same tensors: how many times faster it is, and the share of
// the dense engine's (query, key) pairs that it reads.
#pragma once

#include <benchmark/benchmark.h>

#include "common.hpp"

namespace bench {

template <class Call, class Dense>
void against_dense(benchmark::State& state, double share, const Call& call, const Dense& dense) {
  const Timed routed(call, Clock::thread), whole(dense, Clock::thread);
  std::vector<double> of_routed, of_whole;
  for (int i = 0; i < 5; ++i) {
    of_routed.push_back(routed.repetition());
    of_whole.push_back(whole.repetition());
  }
  for (auto _ : state) call();
  state.counters["keys"] = share;
  state.counters["times_dense"] = median(of_whole) / median(of_routed);
}

}  // namespace bench
