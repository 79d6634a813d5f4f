// SPDX-License-Identifier: Apache-2.0
// Causal attention of a whole sequence on the ranks of one process, against one call of the engine: what the exchange,
// the merging and an uneven layout cost. Bytes are those that a rank sends in a forward, on average.
#include "heed/distributed/context_parallel_attention.hpp"

#include <benchmark/benchmark.h>

#include <atomic>
#include <vector>

#include "heed/distributed/in_process.hpp"

namespace {

using heed::ContextParallelAttention;
using heed::ContextStrategy;
using heed::Index;
using heed::SequenceLayout;
using heed::Tensor;

constexpr Index kHeads = 4, kTokens = 4096, kWidth = 64;

void ranks(benchmark::State& state, ContextStrategy strategy, SequenceLayout layout) {
  const int world = int(state.range(0));
  const bool exchanges_heads = strategy == ContextStrategy::kUlysses;
  const ContextParallelAttention attend{{.strategy = strategy,
                                         .ulysses_size = exchanges_heads ? world : 1,
                                         .ring_size = exchanges_heads ? 1 : world,
                                         .layout = layout,
                                         .causal = true}};
  std::vector<Tensor<float, 4>> q(std::size_t(world), Tensor<float, 4>(1, kHeads, attend.slots(kTokens), kWidth));
  for (auto& x : q) x.setRandom();
  std::atomic<std::uint64_t> sent{0};
  for (auto _ : state) {
    heed::run_in_process(world, [&](heed::Communicator& comm) {
      const auto& own = q[std::size_t(comm.rank())];
      benchmark::DoNotOptimize(attend(comm, kTokens, own, own, own));
      sent += comm.bytes_sent();
    });
  }
  state.counters["bytes_per_rank"] = double(sent) / world / double(state.iterations());
  // Two products of a causal half.
  state.counters["flops"] =
      benchmark::Counter(2.0 * kHeads * kTokens * kTokens * kWidth, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK_CAPTURE(ranks, ring_zigzag, ContextStrategy::kRing, SequenceLayout::kZigzag)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->UseRealTime();
BENCHMARK_CAPTURE(ranks, ring_contiguous, ContextStrategy::kRing, SequenceLayout::kContiguous)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(ranks, ring_striped, ContextStrategy::kRing, SequenceLayout::kStriped)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(ranks, all_gather, ContextStrategy::kAllGather, SequenceLayout::kZigzag)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(ranks, ulysses, ContextStrategy::kUlysses, SequenceLayout::kZigzag)->Arg(2)->UseRealTime();

}  // namespace
