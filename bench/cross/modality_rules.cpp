// SPDX-License-Identifier: Apache-2.0
// Masks of modality rules at N = 2048: as rules that state intervals of keys, as a dense boolean mask of the same
// pairs, and without a mask. `visible` is the share of the pairs that the rule shows, `of full` the time against
// attention without a mask in the same run; GFLOP/s counts the visible pairs.
//   bench_cross_modality_rules --benchmark_filter='mutual'
#include <benchmark/benchmark.h>

#include "common.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/documents.hpp"
#include "heed/attention/mask/key_ranges.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kTokens = 2048, kHeads = 4, kWidth = 64;

struct Inputs {
  Tensor<float, 4> q{1, kHeads, kTokens, kWidth}, k{1, kHeads, kTokens, kWidth}, v{1, kHeads, kTokens, kWidth},
      out{1, kHeads, kTokens, kWidth};
  // An image of 576 tokens from token 64 on may look ahead at the question of 192 behind it.
  Tensor<std::int32_t, 2> first{1, kTokens}, last{1, kTokens};
  Tensor<std::int32_t, 1> prefix{1};

  Inputs() {
    bench::fill_random(q, 1);
    bench::fill_random(k, 2);
    bench::fill_random(v, 3);
    first.setZero();
    last.setZero();
    for (Index i = 64; i < 640; ++i) {
      first(0, i) = 640;
      last(0, i) = 832;
    }
    prefix.setConstant(640);
  }
};

Inputs& inputs() {
  static Inputs all;
  return all;
}

template <class Rule>
double seconds_of(const Rule& rule) {
  Inputs& x = inputs();
  const auto attend = heed::softmax_attention(rule);
  return bench::Timed([&] { attend(x.q, x.k, x.v, heed::into(x.out)); }, bench::Clock::thread, 0.05).repetition();
}

template <class Rule>
void run(benchmark::State& state, const Rule& rule, double visible) {
  Inputs& x = inputs();
  const auto attend = heed::softmax_attention(rule);
  attend(x.q, x.k, x.v, heed::into(x.out));
  std::vector<double> full{seconds_of(heed::everything())};
  const double start = bench::now(bench::Clock::thread);
  for (auto _ : state) attend(x.q, x.k, x.v, heed::into(x.out));
  const double seconds = (bench::now(bench::Clock::thread) - start) / double(state.iterations());
  full.push_back(seconds_of(heed::everything()));
  state.counters["visible"] = visible;
  state.counters["of full"] = 2 * seconds / (full[0] + full[1]);
  state.counters["GFLOP/s"] = visible * 4e-9 * double(kHeads * kTokens * kTokens * kWidth) / seconds;
}

// The rule, and the dense mask that it stands for.
template <class Rule>
void add(const std::string& name, const Rule& rule) {
  const auto mask = std::make_shared<const Tensor<std::uint8_t, 4>>(
      heed::dense_mask(rule, heed::AttentionShape{1, 1, 1, kTokens, kTokens, kWidth, kWidth}));
  double shown = 0;
  for (Index i = 0; i < mask->size(); ++i) shown += mask->data()[i];
  shown /= double(mask->size());
  benchmark::RegisterBenchmark((name + "/rule").c_str(), [rule, shown](benchmark::State& state) {
    run(state, rule, shown);
  })->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark((name + "/boolean mask").c_str(), [mask, shown](benchmark::State& state) {
    run(state, heed::boolean_mask(*mask), shown);
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  const Inputs& x = inputs();
  add("modality mutual",
      heed::causal() || heed::key_ranges(heed::view(x.first).split(0, 1), heed::view(x.last).split(0, 1)));
  add("prefix", heed::causal() || heed::prefix(x.prefix));
  add("documents", heed::documents({300, 724, 512, 512}));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
