// SPDX-License-Identifier: Apache-2.0
#include "heed/distributed/context_parallel_model.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "heed/distributed/in_process.hpp"

using heed::Cluster;
using heed::Communicator;
using heed::ContextParallelAttention;
using heed::ContextParallelCost;
using heed::ContextParallelShape;
using heed::ContextStrategy;
using heed::Index;
using heed::SequenceLayout;
using heed::Tensor;
using heed::WireSpeed;

namespace {

using Options = ContextParallelAttention::Options;

constexpr SequenceLayout kLayouts[] = {SequenceLayout::kZigzag, SequenceLayout::kContiguous, SequenceLayout::kStriped};

std::vector<Options> worlds() {
  std::vector<Options> all;
  const auto add = [&](ContextStrategy strategy, Index ulysses, Index ring, Index inner) {
    for (const SequenceLayout layout : kLayouts)
      for (const bool causal : {false, true})
        for (const std::optional<Index> window : {std::optional<Index>(), std::optional<Index>(4)})
          all.push_back({.strategy = strategy,
                         .ulysses_size = ulysses,
                         .ring_size = ring,
                         .inner_ring_size = inner,
                         .layout = layout,
                         .causal = causal,
                         .window_left = window});
  };
  add(ContextStrategy::kRing, 1, 1, 1);
  add(ContextStrategy::kRing, 1, 4, 1);
  add(ContextStrategy::kAllGather, 1, 3, 1);
  add(ContextStrategy::kUlysses, 2, 1, 1);
  add(ContextStrategy::kUsp, 2, 3, 1);
  add(ContextStrategy::kDoubleRing, 1, 6, 3);
  add(ContextStrategy::kDoubleRing, 1, 4, 2);
  return all;
}

constexpr ContextParallelShape kShape{.batch = 2, .heads = 4, .kv_heads = 2, .width = 3, .value_width = 5};

ContextParallelShape of_length(Index length) {
  ContextParallelShape shape = kShape;
  shape.length = length;
  return shape;
}

// What each rank sends of a sequence of this length.
std::vector<double> counted(const Options& options, Index length) {
  const ContextParallelAttention attend{options};
  std::vector<double> sent(std::size_t(attend.ranks()));
  heed::run_in_process(int(attend.ranks()), [&](Communicator& comm) {
    const Index n = attend.slots(length);
    Tensor<float, 4> q(kShape.batch, kShape.heads, n, kShape.width), k(kShape.batch, kShape.kv_heads, n, kShape.width),
        v(kShape.batch, kShape.kv_heads, n, kShape.value_width);
    q.setZero();
    k.setZero();
    v.setZero();
    attend(comm, length, q, k, v);
    sent[std::size_t(comm.rank())] = double(comm.bytes_sent());
  });
  return sent;
}

}  // namespace

TEST_CASE("The bytes of the formula are those that are sent", "[threads]") {
  for (const Options& options : worlds()) {
    const auto agreement = counted(options, 0);
    for (const Index length : {1, 29}) {
      INFO("strategy " << int(options.strategy) << ", layout " << int(options.layout) << ", causal " << options.causal
                       << ", window " << options.window_left.value_or(-1) << ", length " << length << ", ring "
                       << options.ring_size);
      const ContextParallelCost cost(options, of_length(length));
      const auto sent = counted(options, length);
      for (std::size_t rank = 0; rank < sent.size(); ++rank)
        CHECK(cost.bytes_sent(Index(rank)) == sent[rank] - agreement[rank]);
    }
  }
}

TEST_CASE("The work of all steps is all that is visible") {
  for (const Options& options : worlds())
    for (const Index length : {0, 1, 29}) {
      const ContextParallelCost cost(options, of_length(length));
      double pairs = 0, want = 0;
      for (Index r = 0; r < options.ring_size; ++r)
        for (Index p = 0; p < options.ring_size; ++p) pairs += cost.work(r, p).pairs * double(options.ulysses_size);
      for (Index i = 0; i < length; ++i)
        for (Index j = 0; j < length; ++j)
          want += (!options.causal || j <= i) && (!options.window_left || j >= i - *options.window_left);
      CHECK(pairs == want * double(kShape.batch * kShape.heads));
    }
}

TEST_CASE("The model in the limits that one knows") {
  constexpr Index kTokens = 1 << 16, kRanks = 16;
  const auto time = [](const Options& options, const Cluster& cluster) {
    return context_parallel_time(ContextParallelCost(options, {.heads = 16, .kv_heads = 16, .length = kTokens}),
                                 cluster);
  };
  const Options zigzag{.ring_size = kRanks, .causal = true},
      contiguous{.ring_size = kRanks, .layout = SequenceLayout::kContiguous, .causal = true}, full{.ring_size = kRanks},
      gathered{.strategy = ContextStrategy::kAllGather, .ring_size = kRanks, .causal = true},
      ulysses{.strategy = ContextStrategy::kUlysses, .ulysses_size = kRanks, .causal = true},
      windows{.strategy = ContextStrategy::kDoubleRing, .ring_size = kRanks, .inner_ring_size = 4, .causal = true};
  const auto near = [](double got, double want) { return std::abs(got / want - 1) < 1e-3; };

  // Messages that take no time: the work of the rank that has most. A contiguous causal ring waits for its last rank,
  // which sees nearly all of the sequence, (2 R - 1) / R of the mean.
  const Cluster free{.speed = {.pair = 1e-9}, .far = {}};
  for (const Options& options : {zigzag, full, gathered, ulysses, windows})
    CHECK(near(time(options, free).efficiency(kRanks), 1));
  CHECK(near(time(contiguous, free).efficiency(kRanks), kRanks / (2.0 * kRanks - 1)));

  // Work that takes no time: the messages.
  const Cluster wire{.speed = {}, .far = {.bandwidth = 1e9, .latency = 1e-5}};
  const double agreement = (kRanks - 1) * (1e-5 + 256e-9), part = 16.0 * kTokens / kRanks * 128 * 4 / 1e9;
  CHECK(near(time(zigzag, wire).seconds, agreement + (kRanks - 1) * (part + 1e-5)));
  CHECK(near(time(gathered, wire).seconds, agreement + (kRanks - 1) * (part + 1e-5)));
  const double away = (kRanks - 1.0) / kRanks, token = 16.0 * 4 * kTokens / kRanks / 1e9;
  CHECK(near(time(ulysses, wire).seconds, agreement + away * token * (256 + 1) + 5 * 1e-5 * (kRanks - 1)));

  // Hidden behind the work, or not at all.
  Cluster both{.speed = {.pair = 1e-9}, .far = {.bandwidth = 1e10}};
  const double work = time(full, free).seconds;
  CHECK(near(time(full, both).seconds, work + (kRanks - 1) * 256e-10));
  both.far.overlap = both.near.overlap = 0;
  CHECK(near(time(full, both).seconds, work + (kRanks - 1) * (part / 10 + 256e-10)));

  // Nodes of four ranks with a fast wire of their own: a double ring crosses the slow one once in a window.
  Cluster nodes{.speed = {}, .far = {.bandwidth = 1e9}, .near = {.bandwidth = 1e12}, .node = 4};
  CHECK(time(windows, nodes).seconds < 0.3 * time(zigzag, nodes).seconds);
}

TEST_CASE("What a rank holds") {
  const ContextParallelShape shape{.heads = 8, .kv_heads = 2, .length = 64, .width = 16, .value_width = 16};
  const double rows = 2 * 4 * (2 * 32 + 8 * 16 + 8 * 17), part = 4 * 2 * 32;  // bytes of a token
  const auto held = [&](const Options& options) { return ContextParallelCost(options, shape).memory(); };
  CHECK(held({.ring_size = 1}) == 64 * rows);
  CHECK(held({.ring_size = 2}) == 32 * (rows + part));
  CHECK(held({.ring_size = 8}) == 8 * (rows + 2 * part));
  CHECK(held({.strategy = ContextStrategy::kAllGather, .ring_size = 8}) == 8 * (rows + 7 * part));
  CHECK(held({.strategy = ContextStrategy::kDoubleRing, .ring_size = 8, .inner_ring_size = 4}) ==
        8 * (rows + 3 * part));
}
