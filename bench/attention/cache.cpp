// SPDX-License-Identifier: Apache-2.0
// Decoding over the three stores: one new token is appended and attends to M keys. GB/s of the keys and values that are
// read, and the share of the read bandwidth over the same memory.
//   bench_attention_cache --benchmark_filter='paged'
#include <benchmark/benchmark.h>

#include <memory>

#include "common.hpp"
#include "heed/self/kv_cache_attention.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kHeads = 32, kKvHeads = 8, kWidth = 128, kKeys = 8192;

template <class Cache>
void decode(benchmark::State& state, Cache cache, const heed::KvCacheAttention& attention) {
  using U = typename Cache::Scalar;
  bench::fill_random(cache.k, 1);
  bench::fill_random(cache.v, 2);
  Tensor<float, 4> q(1, kHeads, 1, kWidth), k(1, kKvHeads, 1, kWidth), v(1, kKvHeads, 1, kWidth),
      out(1, kHeads, 1, kWidth);
  bench::fill_random(q, 3);
  bench::fill_random(k, 4);
  bench::fill_random(v, 5);
  const Eigen::DefaultDevice device;
  const std::int32_t length = cache.lengths(0);
  const auto call = [&] {
    attention(device, q, k, v, cache, heed::into(out));
    cache.lengths(0) = length;  // the same token again
  };
  call();
  const auto bytes = [](const Tensor<U, 4>& x) {
    return bench::Bytes(reinterpret_cast<const std::byte*>(x.data()), std::size_t(x.size()) * sizeof(U));
  };
  const bench::ReadBandwidth bandwidth({bytes(cache.k), bytes(cache.v)});
  std::vector<double> limits{bandwidth.repetition(), bandwidth.repetition(), bandwidth.repetition()};
  const double start = bench::now(bench::Clock::thread);
  for (auto _ : state) call();
  const double seconds = bench::now(bench::Clock::thread) - start;
  for (int i = 0; i < 3; ++i) limits.push_back(bandwidth.repetition());
  const double speed = bandwidth.bytes() * double(state.iterations()) / seconds;
  state.counters["GB/s"] = speed / 1e9;
  state.counters["share"] = speed / bench::median(limits);
}

template <class U>
heed::ContiguousCache<U> contiguous() {
  heed::ContiguousCache<U> cache(1, kKvHeads, kKeys, kWidth, kWidth);
  cache.lengths.setConstant(kKeys - 1);
  return cache;
}

// Half way round for the thousandth time.
template <class U>
heed::RingCache<U> ring() {
  heed::RingCache<U> cache(1, kKvHeads, kWidth, kWidth, {.sink_tokens = 4, .window_size = kKeys - 4});
  cache.lengths.setConstant(1000 * kKeys + kKeys / 2);
  return cache;
}

// Pages in an order as good as random: 1021 is odd.
template <class U>
heed::PagedCache<U> paged(Index page_size) {
  const Index blocks = kKeys / page_size;
  heed::PagedCache<U> cache(blocks, kKvHeads, page_size, kWidth, kWidth, 1, blocks);
  for (Index block = 0; block < blocks; ++block) cache.block_table(0, block) = std::int32_t(block * 1021 % blocks);
  cache.lengths.setConstant(kKeys - 1);
  return cache;
}

template <class U>
void add(const std::string& dtype) {
  const std::string suffix = "/H=32 Hk=8 D=128 M=8192 dtype=" + dtype;
  const auto benchmark = [&](const std::string& name, auto make, const heed::KvCacheAttention& attention = {}) {
    benchmark::RegisterBenchmark((name + suffix).c_str(), [make, attention](benchmark::State& state) {
      decode(state, make(), attention);
    })->Unit(benchmark::kMillisecond);
  };
  benchmark("contiguous", contiguous<U>);
  benchmark("ring", ring<U>);
  benchmark("ring in-cache positions", ring<U>, heed::KvCacheAttention{{.rope_base = 10000}});
  for (const Index page_size : {16, 64, 256})
    benchmark("paged " + std::to_string(page_size), [page_size] { return paged<U>(page_size); });
}

}  // namespace

int main(int argc, char** argv) {
  add<float>("f32");
  add<heed::bfloat16>("bf16");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
