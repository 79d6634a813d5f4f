// SPDX-License-Identifier: Apache-2.0
// Registers workloads with Google Benchmark, with GFLOP/s or GB/s and the share of this machine's limit as counters.
#pragma once

#include <benchmark/benchmark.h>

#include "problem.hpp"

namespace bench {

template <class Cache>
void run_workload(benchmark::State& state, const Workload& workload) {
  Problem<Cache> problem(workload);
  const auto call = heed_call(problem);
  call();
  const Clock clock = clock_for(workload.threads);

  // The limit is measured right before and right after, so that a change of clock in between shows in both.
  std::vector<double> limits, peaks;
  std::unique_ptr<ReadBandwidth> bandwidth;
  if (workload.bound_by_memory()) bandwidth = std::make_unique<ReadBandwidth>(problem.caches());
  const auto measure_limit = [&] {
    for (int i = 0; i < 3; ++i) {
      limits.push_back(bandwidth ? bandwidth->repetition() : multiply_add_peak<float>());
      if (bandwidth) peaks.push_back(multiply_add_peak<float>());
    }
  };

  measure_limit();
  const double start = now(clock);
  for (auto _ : state) call();
  const double seconds = now(clock) - start;
  measure_limit();

  const double work = bandwidth ? workload.cache_bytes() : workload.flops();
  const double speed = work * double(state.iterations()) / seconds;
  state.counters[bandwidth ? "GB/s" : "GFLOP/s"] = speed / 1e9;
  const double share = speed / (median(limits) * workload.threads);
  state.counters["share"] = share;
  if (bandwidth) {
    // Many query heads on one key are bound by arithmetic: the larger of the two shares is that of the limit that
    // binds.
    const double flops = workload.flops() * double(state.iterations()) / seconds;
    state.counters["of peak"] = flops / (median(peaks) * workload.threads);
  }
}

inline void run_named_workload(benchmark::State& state, const Workload& workload) {
  if (workload.dtype == "bf16")
    run_workload<Eigen::bfloat16>(state, workload);
  else if (workload.dtype == "f16")
    run_workload<Eigen::half>(state, workload);
  else
    run_workload<float>(state, workload);
}

inline int run_workloads(int argc, char** argv, std::span<const char* const> names) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const char* name : names)
    for (const int threads : {1, 2}) {
      const std::string line = name + (threads > 1 ? " threads=" + std::to_string(threads) : std::string());
      const Workload workload(line);
      auto* registered = benchmark::RegisterBenchmark(
          line.c_str(), [workload](benchmark::State& state) { run_named_workload(state, workload); });
      registered->Unit(benchmark::kMillisecond);
      if (threads > 1) registered->UseRealTime();
    }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
