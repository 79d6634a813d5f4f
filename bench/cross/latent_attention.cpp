// SPDX-License-Identifier: Apache-2.0
// One new token of multi-head latent attention over M cached ones, 16 heads, latents of 512 and rotary keys of 64: the
// absorbed form, which reads the latents alone, against the naive one over keys and values that were expanded once and
// kept. GB/s of what is read, its share of the read bandwidth over the same memory, the share of the peak of
// multiply-adds, and the larger of both: how near the call is to the limit that binds it. The absorbed form does 15
// FLOP for each byte that it reads and the naive one half of one: in float the first is bound by arithmetic, the second
// by memory.
//   bench_cross_latent_attention --benchmark_filter='M=8192'
#include <benchmark/benchmark.h>

#include "common.hpp"
#include "heed/cross/multi_head_latent_attention.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kHeads = 16, kRank = 512, kRope = 64, kNope = 128, kValue = 128;

struct Call {
  Tensor<float, 4> q, k, v, out;
  bool shared;  // the value is the front of the key

  Call(bool absorbed, Index keys)
      : q(1, kHeads, 1, absorbed ? kRank + kRope : kNope + kRope),
        k(1, absorbed ? 1 : kHeads, keys, q.dimension(3)),
        v(1, absorbed ? 0 : kHeads, keys, kValue),
        out(1, kHeads, 1, absorbed ? kRank : kValue),
        shared(absorbed) {
    bench::fill_random(q, 1);
    bench::fill_random(k, 2);
    bench::fill_random(v, 3);
  }

  std::vector<bench::Bytes> memory() const {
    std::vector<bench::Bytes> parts;
    for (const auto* x : {&k, &v})
      if (x->size() > 0)
        parts.emplace_back(reinterpret_cast<const std::byte*>(x->data()), std::size_t(x->size()) * sizeof(float));
    return parts;
  }
  double flops() const { return 2.0 * kHeads * double(k.dimension(2)) * double(q.dimension(3) + out.dimension(3)); }

  void operator()(const heed::DeviceRef& device) {
    const auto keys = heed::const_view(k);
    const auto values = shared ? keys.slice(3, 0, kRank) : heed::const_view(v);
    const auto attend = heed::softmax_attention(heed::causal(), {.scale = 1 / std::sqrt(double(kNope + kRope))});
    attend(device, q, keys, values, heed::into(out));
  }
};

void decode(benchmark::State& state, bool absorbed, Index keys, int threads) {
  Call call(absorbed, keys);
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice parallel(&pool, threads);
  const heed::DeviceRef device = threads > 1 ? heed::DeviceRef(parallel) : heed::DeviceRef();
  call(device);
  const bench::ReadBandwidth bandwidth(call.memory());
  const bench::Clock clock = bench::clock_for(threads);
  std::vector<double> limits, peaks;
  const auto measure_limits = [&] {
    for (int i = 0; i < 3; ++i) {
      limits.push_back(bandwidth.repetition() * threads);
      peaks.push_back(bench::multiply_add_peak<float>() * threads);
    }
  };
  measure_limits();
  const double start = bench::now(clock);
  for (auto _ : state) call(device);
  const double seconds = bench::now(clock) - start;
  measure_limits();
  const double calls = double(state.iterations()) / seconds;
  state.counters["GB/s"] = bandwidth.bytes() * calls / 1e9;
  const double of_bandwidth = bandwidth.bytes() * calls / bench::median(limits);
  const double of_peak = call.flops() * calls / bench::median(peaks);
  state.counters["of bandwidth"] = of_bandwidth;
  state.counters["of peak"] = of_peak;
  state.counters["of limit"] = std::max(of_bandwidth, of_peak);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Index keys : {1024, 8192, 32768})
    for (const int threads : {1, 2})
      for (const bool absorbed : {true, false}) {
        const std::string name = std::string(absorbed ? "absorbed" : "naive") +
                                 "/H=16 R=512 dr=64 M=" + std::to_string(keys) +
                                 (threads > 1 ? " threads=" + std::to_string(threads) : "");
        auto* registered = benchmark::RegisterBenchmark(
            name.c_str(), [=](benchmark::State& state) { decode(state, absorbed, keys, threads); });
        registered->Unit(benchmark::kMillisecond);
        if (threads > 1) registered->UseRealTime();
      }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
