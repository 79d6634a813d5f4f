// SPDX-License-Identifier: Apache-2.0
// Calls of channel attention, timed beside the limits of the machine: names hold the workload, for the peer beside it.
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../common.hpp"
#include "heed/core/device.hpp"

namespace bench {

using heed::Index;
using heed::Tensor;

template <int Rank>
Tensor<float, Rank> random(const std::array<Index, std::size_t(Rank)>& sizes, unsigned seed = 1) {
  Tensor<float, Rank> x;
  x.resize(sizes);
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = normal(engine);
  return x;
}

/// "se B=8 C=256": the number behind a letter.
inline Index number(const std::string& name, const std::string& letter, Index otherwise = 0) {
  const std::size_t at = (" " + name).find(" " + letter + "=");
  return at == std::string::npos ? otherwise : Index(std::stoll(name.substr(at + letter.size() + 1)));
}

/// Runs f(device) of the calling thread or of a pool, and gives the seconds of a call.
template <class F>
double run(benchmark::State& state, int threads, const F& f) {
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice many(&pool, threads);
  const heed::DeviceRef device = threads == 1 ? heed::DeviceRef() : heed::DeviceRef(many);
  const Clock clock = clock_for(threads);
  f(device);
  const double start = now(clock);
  for (auto _ : state) f(device);
  return (now(clock) - start) / double(state.iterations());
}

inline int run_all(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
