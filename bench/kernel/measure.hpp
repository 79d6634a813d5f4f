// SPDX-License-Identifier: Apache-2.0
// Speeds of kernels that work on a few kilobytes, beside the limit of the core that they ran on.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>

#include "../common.hpp"
#include "heed/core/scalar.hpp"

namespace bench {

using heed::Index;

/// Random numbers of T at a 64-byte boundary.
template <class T>
class Numbers {
 public:
  explicit Numbers(Index count, double low = -1, double high = 1) : memory_(std::size_t(count) + 64 / sizeof(T)) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - address % 64) % 64 / sizeof(T);
    std::mt19937 engine(1);
    std::uniform_real_distribution<double> uniform(low, high);
    for (Index i = 0; i < count; ++i) data_[i] = static_cast<T>(float(uniform(engine)));
  }
  T* data() { return data_; }

 private:
  std::vector<T> memory_;
  T* data_;
};

/// Times call() and sets the counters of a kernel: GFLOP/s and the share of the multiply-add peak where it has `flops`,
/// G elements/s and multiply-adds per element, those that the core could have done in that time, where it has
/// `elements`. The peak is measured right before and right after.
template <class T, class Call>
void measure(benchmark::State& state, double flops, double elements, Call call) {
  call();
  double peak = multiply_add_peak<T>();
  const double start = now(Clock::thread);
  for (auto _ : state) call();
  const double seconds = (now(Clock::thread) - start) / double(state.iterations());
  peak = 0.5 * (peak + multiply_add_peak<T>());
  if (flops > 0) {
    state.counters["GFLOP/s"] = flops / seconds / 1e9;
    state.counters["share"] = flops / seconds / peak;
  }
  if (elements > 0) {
    state.counters["Gelement/s"] = elements / seconds / 1e9;
    state.counters["fma/element"] = peak / 2 * seconds / elements;
  }
}

}  // namespace bench
