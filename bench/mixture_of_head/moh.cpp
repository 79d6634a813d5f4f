// SPDX-License-Identifier: Apache-2.0
// Mixtures of heads against multi-head attention on the same x and widths: `heads` is the share of the heads that a
// token uses, `of_dense` the share of multi-head attention's time. The bar: 0.65 at half the heads.
//   bench_mixture_of_head_moh --benchmark_filter='moh/4096'
#include <benchmark/benchmark.h>

#include "common.hpp"
#include "heed/mixture_of_head.hpp"
#include "heed/self/multi_head_attention.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kHeads = 8, kWidth = 64, kChannels = kHeads * kWidth;
const Eigen::DefaultDevice kDevice;

template <int Rank>
Tensor<float, Rank> random(const std::array<Index, Rank>& sizes, unsigned seed) {
  Tensor<float, Rank> x(sizes);
  bench::fill_random(x, seed);
  return x;
}

template <class Op>
void against_multi_head(benchmark::State& state, const Op& op, bool causal) {
  const auto x = random<3>({1, state.range(0), kChannels}, 1);
  heed::MultiHeadAttention<float> dense{{.num_heads = kHeads, .causal = causal}};
  for (auto* layer : {&dense.q, &dense.k, &dense.v, &dense.out}) *layer = {random<2>({kChannels, kChannels}, 2), {}};
  const auto call = [&] { benchmark::DoNotOptimize(op(x)); };
  const bench::Timed mixture(call, bench::Clock::thread),
      whole([&] { benchmark::DoNotOptimize(dense(kDevice, x).out.data()); }, bench::Clock::thread);
  std::vector<double> of_mixture, of_whole;
  for (int i = 0; i < 5; ++i) {
    of_mixture.push_back(mixture.repetition());
    of_whole.push_back(whole.repetition());
  }
  for (auto _ : state) call();
  state.counters["heads"] = 0.5;
  state.counters["of_dense"] = bench::median(of_mixture) / bench::median(of_whole);
}

void moh(benchmark::State& state) {
  heed::MohAttention<float> op{{.num_heads = kHeads, .shared_heads = 2, .routed_heads = 2}};
  op.qkv = {random<2>({3 * kChannels, kChannels}, 2), {}};
  op.out = {random<2>({kChannels, kChannels}, 3), {}};
  op.gates = {random<2>({6, kChannels}, 4), random<2>({2, kChannels}, 5), random<2>({2, kChannels}, 6)};
  against_multi_head(
      state, [&](const auto& x) { return op(kDevice, x).out.data(); }, false);
}
BENCHMARK(moh)->Arg(1024)->Arg(4096)->Unit(benchmark::kMillisecond);

void moh_llama(benchmark::State& state) {
  heed::MohLlamaAttention<float> op{
      {.num_heads = kHeads, .num_kv_heads = kHeads, .shared_heads = 2, .routed_heads = 2}};
  for (auto* layer : {&op.q, &op.k, &op.v, &op.out}) *layer = {random<2>({kChannels, kChannels}, 2), {}};
  against_multi_head(
      state, [&](const auto& x) { return op(kDevice, x).data(); }, true);
}
BENCHMARK(moh_llama)->Arg(4096)->Unit(benchmark::kMillisecond);

}  // namespace
