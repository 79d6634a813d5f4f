// SPDX-License-Identifier: Apache-2.0
// What attention saves by not reading its memory, or by reading it in chunks: each operator beside its dense form, in
// turn in one run. `faster` is the median over the rounds of dense time / time; `memory` is what the dense form reads
// of keys and values over what the operator reads.
//   bench_self_memory --benchmark_filter='duo'
#include <benchmark/benchmark.h>

#include <memory>

#include "common.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/self/duo_attention_cached.hpp"
#include "heed/self/landmark_retrieval_attention.hpp"
#include "heed/self/neural_memory.hpp"
#include "heed/self/target_attention.hpp"
#include "heed/self/two_stage_target_attention.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr int kRounds = 7;

template <int Rank>
Tensor<float, Rank> random(const std::array<Index, std::size_t(Rank)>& sizes, std::uint64_t seed) {
  Tensor<float, Rank> x(Eigen::DSizes<Index, Rank>{sizes});
  bench::fill_random(x, seed);
  return x;
}

// The time of `call`, and what `dense` takes of it.
void compare(benchmark::State& state, const std::function<void()>& call, const std::function<void()>& dense,
             double memory) {
  const bench::Timed fast(call, bench::Clock::thread), slow(dense, bench::Clock::thread);
  const auto times = bench::interleave({[&] { return fast.repetition(); }, [&] { return slow.repetition(); }}, kRounds);
  for (auto _ : state) state.SetIterationTime(bench::median(times[0]));
  state.counters["faster"] = bench::median_ratio(times[1], times[0]);
  if (memory > 0) state.counters["memory"] = memory;
}

// One new token after `context` of them, of which `full` key heads keep all and the others 64 + 256; dense: all of them
// keep all.
void duo(benchmark::State& state, Index context, Index full) {
  constexpr Index heads = 32, kv_heads = 8, width = 128, sinks = 64, recent = 256;
  const auto q = random<4>({1, heads, 1, width}, 1), k = random<4>({1, kv_heads, 1, width}, 2);
  const auto v = random<4>({1, kv_heads, 1, width}, 3);
  Tensor<float, 4> out(1, heads, 1, width);
  const auto step = [&](Index retrieval) {
    const heed::DuoAttentionCached attend{{.num_full_heads = retrieval, .sink_size = sinks, .recent_size = recent}};
    auto cache = std::make_shared<heed::DuoCache<float>>(attend.cache<float>(1, kv_heads, context + 1, width, width));
    for (auto* rows : {&cache->full.k, &cache->full.v, &cache->stream.k, &cache->stream.v})
      bench::fill_random(*rows, 4);
    return [&q, &k, &v, &out, attend, cache, context] {
      cache->full.lengths.setConstant(std::int32_t(context));  // the same token again
      cache->stream.lengths.setConstant(std::int32_t(context));
      attend(Eigen::DefaultDevice(), q, k, v, *cache, out);
    };
  };
  const double rows = double(full * context + (kv_heads - full) * std::min(context, sinks + recent));
  compare(state, step(full), step(kv_heads), double(kv_heads * context) / rows);
}

// 16 queries that choose 4 of `blocks` blocks of 64 each for itself; dense: that choose all, or exact attention.
enum class LandmarkDense { kAllBlocks, kSoftmax };
void landmark(benchmark::State& state, Index blocks, LandmarkDense against) {
  constexpr Index heads = 8, width = 64, length = 64, queries = 16, section = 64, chosen = 4;
  const auto q = random<4>({1, heads, queries, width}, 1), k = random<4>({1, heads, section, width}, 2);
  const auto v = random<4>({1, heads, section, width}, 3);
  const auto block_k = random<5>({1, heads, blocks, length, width}, 4);
  const auto block_v = random<5>({1, heads, blocks, length, width}, 5);
  Tensor<std::uint8_t, 2> marks(1, section);
  marks.setZero();
  const auto retrieve = [&](Index top_k) {
    return [&, top_k] {
      const heed::LandmarkRetrievalAttention attend{{.top_k = top_k}};
      bench::keep(attend(q, k, v, marks, block_k, block_v).data());
    };
  };
  const heed::View<const float, 4> all_k(block_k.data(), {1, heads, blocks * length, width});
  const heed::View<const float, 4> all_v(block_v.data(), {1, heads, blocks * length, width});
  Tensor<float, 4> out(1, heads, queries, width);
  const auto exact = [&] { heed::softmax_attention()(Eigen::DefaultDevice(), q, all_k, all_v, heed::into(out)); };
  // A landmark of each block, then as many blocks as all queries choose, at most.
  const double rows = double(blocks) / 2 + double(std::min(blocks, queries * chosen) * length);
  const std::function<void()> dense =
      against == LandmarkDense::kSoftmax ? std::function<void()>(exact) : retrieve(blocks);
  compare(state, retrieve(chosen), dense, double(blocks * length) / rows);
}

// 64 candidates, each against a history of its own, of which 20 behaviours are found by 16 channels; dense: all.
void two_stage(benchmark::State& state, Index history) {
  constexpr Index batch = 64, width = 16, value_width = 128, found = 20;
  const auto query = random<2>({batch, width}, 1), target = random<2>({batch, value_width}, 2);
  const auto key = random<3>({batch, history, width}, 3), value = random<3>({batch, history, value_width}, 4);
  const heed::TwoStageTargetAttention attend{{.top_k = found}};
  const heed::TargetAttention<float> dense;
  compare(
      state, [&] { bench::keep(attend(query, key, value, target).out.data()); },
      [&] { bench::keep(dense(query, key, value).out.data()); },
      double(history * (width + value_width)) / double(history * width + found * (width + value_width)));
}

// 1024 tokens through a memory of two layers with momentum, gradients taken every `minibatch` tokens; dense: every
// token, one step after the other.
void titans(benchmark::State& state, Index minibatch, Index hidden) {
  constexpr Index heads = 4, width = 64, tokens = 1024;
  const auto q = random<4>({1, heads, tokens, width}, 1), k = random<4>({1, heads, tokens, width}, 2);
  const auto v = random<4>({1, heads, tokens, width}, 3);
  Tensor<float, 3> theta(1, heads, tokens), alpha(1, heads, tokens), eta(1, heads, tokens);
  theta.setConstant(1e-4f);
  alpha.setConstant(0.01f);
  eta.setConstant(0.9f);
  const auto run = [&](Index each) {
    heed::NeuralMemory<float> memory{{.minibatch_size = each}};
    memory.memory = {random<3>({heads, width, hidden}, 4), random<3>({heads, hidden, width}, 5)};
    for (auto& layer : memory.memory) layer = layer * 0.05f;
    return [&, memory] { bench::keep(memory(q, k, v, theta, alpha, eta).out.data()); };
  };
  compare(state, run(minibatch), run(1), 0);
}

template <class F>
void add(const std::string& name, const F& f) {
  benchmark::RegisterBenchmark(name.c_str(), f)->Unit(benchmark::kMillisecond)->UseManualTime()->Iterations(1);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Index context : {4096, 16384})
    for (const Index full : {0, 4})
      add("duo decode, full heads " + std::to_string(full) + " of 8/H=32 Hk=8 D=128 T=" + std::to_string(context),
          [=](benchmark::State& state) { duo(state, context, full); });
  for (const Index blocks : {64, 512}) {
    const std::string sizes = "/H=8 D=64 N=16 L=64 R=" + std::to_string(blocks);
    add("landmark retrieval of 4 against all blocks" + sizes,
        [=](benchmark::State& state) { landmark(state, blocks, LandmarkDense::kAllBlocks); });
    add("landmark retrieval of 4 against softmax attention" + sizes,
        [=](benchmark::State& state) { landmark(state, blocks, LandmarkDense::kSoftmax); });
  }
  for (const Index history : {512, 4096})
    add("two-stage target/B=64 D=16 Dv=128 K=20 M=" + std::to_string(history),
        [=](benchmark::State& state) { two_stage(state, history); });
  for (const Index minibatch : {16, 64})
    add("titans in chunks of " + std::to_string(minibatch) + "/H=4 D=64 R=128 N=1024",
        [=](benchmark::State& state) { titans(state, minibatch, 128); });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
