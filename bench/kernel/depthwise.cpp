// SPDX-License-Identifier: Apache-2.0
// Depthwise convolutions: GB/s of the map read once and written once, beside the read bandwidth of this core over that
// map (`share`), and multiply-adds against the peak (`fma`): with few taps memory is the limit, with many the taps are.
//   bench_kernel_depthwise --benchmark_filter='conv_2d'
#include <benchmark/benchmark.h>

#include "common.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/depthwise_1d.hpp"

namespace {

using heed::ConvOptions;
using heed::Index;
using heed::Tensor;
using heed::View;

template <class Call>
void measure(benchmark::State& state, const Tensor<float, 4>& x, Index taps, const Call& call) {
  const double bytes = 2.0 * double(x.size()) * sizeof(float);
  const bench::ReadBandwidth bandwidth(
      {bench::Bytes(reinterpret_cast<const std::byte*>(x.data()), std::size_t(x.size()) * sizeof(float))});
  call();
  std::vector<double> limits{bandwidth.repetition()}, peaks{bench::multiply_add_peak<float>()};
  const double start = bench::now(bench::Clock::thread);
  for (auto _ : state) call();
  const double seconds = (bench::now(bench::Clock::thread) - start) / double(state.iterations());
  limits.push_back(bandwidth.repetition());
  peaks.push_back(bench::multiply_add_peak<float>());
  state.counters["GB/s"] = bytes / seconds / 1e9;
  state.counters["share"] = bytes / seconds / bench::median(limits);
  state.counters["fma"] = 2 * double(x.size() * taps) / seconds / bench::median(peaks);
}

// Maps (1, C, s, s), in this order in memory (map) or as tokens (1, s s, C), into the same.
template <bool kTokens>
void conv_2d(benchmark::State& state) {
  const Index channels = state.range(0), side = state.range(1), kh = state.range(2), kw = state.range(3);
  const Index dilation = state.range(4);
  Tensor<float, 4> x(1, channels, side, side), out(1, channels, side, side), weight(channels, 1, kh, kw);
  Tensor<float, 1> bias(channels);
  bench::fill_random(x, 1);
  bench::fill_random(weight, 2);
  bias.setZero();
  const auto map = [&](Tensor<float, 4>& memory) {
    if constexpr (kTokens) {
      return View<float, 4>(memory.data(), {1, side, side, channels}).permute({0, 3, 1, 2});
    } else {
      return heed::view(memory);
    }
  };
  const ConvOptions options{
      .padding = {dilation * (kh / 2), dilation * (kw / 2)}, .dilation = {dilation, dilation}, .groups = channels};
  measure(state, x, kh * kw, [&] {
    heed::conv_2d(heed::DeviceRef(), map(x), weight, bias, options, map(out));
    bench::keep(out.data());
  });
}
// The gradients of x and of the weights: twice the multiply-adds of the forward.
template <bool kTokens>
void conv_2d_backward(benchmark::State& state) {
  const Index channels = state.range(0), side = state.range(1), kh = state.range(2), kw = state.range(3);
  const Index dilation = state.range(4);
  Tensor<float, 4> x(1, channels, side, side), d_out(x.dimensions()), d_x(x.dimensions()), weight(channels, 1, kh, kw),
      d_weight(channels, 1, kh, kw);
  bench::fill_random(x, 1);
  bench::fill_random(weight, 2);
  bench::fill_random(d_out, 3);
  d_x.setZero();
  d_weight.setZero();
  const auto map = [&](Tensor<float, 4>& memory) {
    if constexpr (kTokens) {
      return View<float, 4>(memory.data(), {1, side, side, channels}).permute({0, 3, 1, 2});
    } else {
      return heed::view(memory);
    }
  };
  const ConvOptions options{
      .padding = {dilation * (kh / 2), dilation * (kw / 2)}, .dilation = {dilation, dilation}, .groups = channels};
  measure(state, x, 2 * kh * kw, [&] {
    heed::conv_2d_backward(heed::DeviceRef(), View<const float, 4>(map(x)), heed::const_view(weight), options,
                           View<const float, 4>(map(d_out)), map(d_x), heed::view(d_weight), View<float, 1>());
    bench::keep(d_x.data());
  });
}
void kernels(benchmark::internal::Benchmark* b) {
  b->ArgNames({"C", "side", "kh", "kw", "dilation"})->Unit(benchmark::kMicrosecond);
  for (const Index side : {14, 56}) {
    const Index channels = side == 56 ? 64 : 320;
    b->Args({channels, side, 3, 3, 1})->Args({channels, side, 5, 5, 1})->Args({channels, side, 7, 7, 3});
    b->Args({channels, side, 1, 11, 3})->Args({channels, side, 11, 1, 3});
  }
  b->Args({64, 224, 3, 3, 1});
}
BENCHMARK(conv_2d<false>)->Name("conv_2d map")->Apply(kernels);
BENCHMARK(conv_2d<true>)->Name("conv_2d tokens")->Apply(kernels);
BENCHMARK(conv_2d_backward<false>)->Name("conv_2d_backward map")->Apply(kernels);
BENCHMARK(conv_2d_backward<true>)->Name("conv_2d_backward tokens")->Apply(kernels);

// Tokens (1, L, E) with K taps, causal.
void depthwise_1d(benchmark::State& state) {
  const Index tokens = state.range(0), channels = state.range(1), taps = state.range(2);
  Tensor<float, 4> x(1, 1, tokens, channels), out(1, 1, tokens, channels);
  Tensor<float, 2> weight(channels, taps);
  Tensor<float, 1> bias(channels);
  bench::fill_random(x, 1);
  bench::fill_random(weight, 2);
  bias.setZero();
  measure(state, x, taps, [&] {
    heed::depthwise_1d(heed::DeviceRef(), x, weight, bias, heed::DepthwiseOptions::causal(taps), out);
    bench::keep(out.data());
  });
}
BENCHMARK(depthwise_1d)
    ->ArgNames({"L", "E", "K"})
    ->Args({128, 768, 4})
    ->Args({1024, 1536, 4})
    ->Args({4096, 1536, 3})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
