// SPDX-License-Identifier: Apache-2.0
// What the windows of an image cost beside the attention within them: 7 x 7 windows on 56 x 56 pixels, plain and
// shifted. `attention` is the kernel on projections of tokens that already lie by windows; `partition_attention_merge`
// moves the tokens there and back as well, and its counter `ratio` is the quotient of the two, measured in turn;
// `operator` is all of it with the projections.
#include "heed/neighborhood/window_attention.hpp"

#include <benchmark/benchmark.h>

#include <memory>

#include "../common.hpp"

namespace {

using heed::Index;

struct Windows {
  static constexpr Index kSize = 56, kWindow = 7, kHeads = 3, kChannels = 96;
  static constexpr Index kCount = (kSize / kWindow) * (kSize / kWindow), kTokens = kWindow * kWindow;

  heed::Tensor<float, 4> image{1, kSize, kSize, kChannels}, result{1, kSize, kSize, kChannels};
  heed::Tensor<float, 3> tokens{1, kCount*kTokens, kChannels}, packed{kCount, kTokens, 3 * kChannels},
      mixed{kCount, kTokens, kChannels};
  heed::WindowAttention<float> attend;
  heed::Tensor<std::int32_t, 2> pixel_of{1, kCount*kTokens}, token_of{1, kSize*kSize};
  heed::Tensor<float, 2> regions{kCount, kTokens};

  explicit Windows(Index shift) : attend{{.num_heads = kHeads, .shift = {shift, shift}}} {
    bench::fill_random(image, 1);
    bench::fill_random(packed, 2);
    attend.qkv.weight.resize(3 * kChannels, kChannels);
    attend.out.weight.resize(kChannels, kChannels);
    bench::fill_random(attend.qkv.weight, 3);
    bench::fill_random(attend.out.weight, 4);
    heed::detail::WindowPartition({kSize, kSize}, {kWindow, kWindow}, {shift, shift})
        .fill(pixel_of.data(), token_of.data(), regions.data());
  }

  void attention() {
    const auto heads = [](const auto& x, Index first) {
      return heed::view(x).slice(2, first, kChannels).split(2, kChannels / kHeads).permute({0, 2, 1, 3});
    };
    const auto target = heed::into(heed::view(mixed).split(2, kChannels / kHeads).permute({0, 2, 1, 3}));
    const auto run = [&](const auto& attention) {
      attention(heads(packed, 0), heads(packed, kChannels), heads(packed, 2 * kChannels), target);
    };
    if (attend.options.shift[0] == 0) return run(heed::softmax_attention());
    run(heed::softmax_attention(
        heed::detail::RegionPenalty{{}, heed::const_view(regions), -100, heed::Divider(kCount)}));
  }
  void partition() { heed::gather(Eigen::DefaultDevice(), heed::const_view(image).merge(1), pixel_of, tokens); }
  void merge() {
    heed::gather(Eigen::DefaultDevice(), heed::View<const float, 3>(mixed.data(), {1, kCount * kTokens, kChannels}),
                 token_of, heed::view(result).merge(1));
  }
  void all() {
    partition();
    attention();
    merge();
  }
};

void attention(benchmark::State& state) {
  Windows w(state.range(0));
  for (auto _ : state) w.attention();
}

void partition_attention_merge(benchmark::State& state) {
  Windows w(state.range(0));
  const bench::Timed all([&] { w.all(); }, bench::Clock::thread, 2e-3);
  const bench::Timed alone([&] { w.attention(); }, bench::Clock::thread, 2e-3);
  const auto figures = bench::interleave({[&] { return all.repetition(); }, [&] { return alone.repetition(); }}, 41);
  state.counters["ratio"] = bench::median_ratio(figures[0], figures[1]);
  for (auto _ : state) w.all();
}

void window_operator(benchmark::State& state) {
  Windows w(state.range(0));
  for (auto _ : state) bench::keep(w.attend(w.image).data());
}

}  // namespace

BENCHMARK(attention)->ArgName("shift")->Arg(0)->Arg(3)->Unit(benchmark::kMillisecond);
BENCHMARK(partition_attention_merge)->ArgName("shift")->Arg(0)->Arg(3)->Unit(benchmark::kMillisecond);
BENCHMARK(window_operator)->ArgName("shift")->Arg(0)->Arg(3)->Unit(benchmark::kMillisecond);
