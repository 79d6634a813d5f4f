// SPDX-License-Identifier: Apache-2.0
// The scan of linear attention, 8 heads of 64 in chunks of 64: no decay, one for a head, for a token, for a channel,
// and with the delta rule. ns per token of a head, GFLOP/s and share of the FMA peak, of the chunked form's own
// operations: C (D + Dv) + 2 D Dv multiply-adds a token, the masked half of a chunk's pairs counted.
//   bench_scan_linear_attention --benchmark_filter='channel.*N=16384'
#include <benchmark/benchmark.h>

#include <string>

#include "../kernel/measure.hpp"
#include "heed/scan/linear_scan.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kHeads = 8, kWidth = 64, kChunk = 64;

enum class Kind { kNone, kPerHead, kPerToken, kPerChannel };

void scan(benchmark::State& state, Kind kind, bool delta, bool normalizer, Index tokens, bool backward) {
  const auto random = [](Index batch, Index n, Index width, double low, double high) {
    Tensor<float, 4> x(batch, kHeads, n, width);
    bench::Numbers<float> numbers(x.size(), low, high);
    std::copy_n(numbers.data(), x.size(), x.data());
    return x;
  };
  const Tensor<float, 4> q = random(1, tokens, kWidth, -0.1, 0.1), k = random(1, tokens, kWidth, -0.1, 0.1),
                         v = random(1, tokens, kWidth, -1, 1);
  Tensor<float, 4> decay, beta, none;
  if (kind == Kind::kPerHead) decay = random(1, 1, 1, -0.1, -0.01);
  if (kind == Kind::kPerToken) decay = random(1, tokens, 1, -0.5, 0);
  if (kind == Kind::kPerChannel) decay = random(1, tokens, kWidth, -0.5, 0);
  if (delta) beta = random(1, tokens, 1, 0, 1);
  const heed::LinearScanOptions options{.scale = 0.125, .normalizer = normalizer, .chunk = kChunk};
  const Index columns = kWidth + Index(normalizer);
  Tensor<float, 4> out(1, kHeads, tokens, columns), end(1, kHeads, kWidth, columns);
  double flops = 2.0 * double(kHeads * tokens) * double(kChunk * 2 * kWidth + 2 * kWidth * kWidth);
  const Eigen::DefaultDevice device;
  if (!backward) {
    bench::measure<float>(state, flops, 0,
                          [&] { heed::linear_scan(device, q, k, v, decay, beta, none, options, out, end); });
  } else {
    using heed::const_view;
    using heed::View;
    const Tensor<float, 4> d_out = random(1, tokens, columns, -1, 1);
    Tensor<float, 4> d_q(q.dimensions()), d_k(q.dimensions()), d_v(q.dimensions()), d_decay(decay.dimensions()),
        d_beta(beta.dimensions());
    for (auto* d : {&d_q, &d_k, &d_v, &d_decay, &d_beta}) d->setZero();
    bench::measure<float>(state, 0, 0, [&] {
      heed::linear_scan_backward(device, const_view(q), const_view(k), const_view(v), const_view(decay),
                                 const_view(beta), View<const float, 4>(), options, const_view(d_out),
                                 View<const float, 4>(), heed::view(d_q), heed::view(d_k), heed::view(d_v),
                                 heed::view(d_decay), heed::view(d_beta), View<float, 4>());
    });
  }
  state.counters["ns/token"] = benchmark::Counter(
      double(kHeads * tokens) * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace

int main(int argc, char** argv) {
  const struct {
    const char* name;
    Kind kind;
    bool delta, normalizer;
  } cases[] = {{"none", Kind::kNone, false, false},          {"normalized", Kind::kNone, false, true},
               {"per_head", Kind::kPerHead, false, false},   {"per_token", Kind::kPerToken, false, false},
               {"channel", Kind::kPerChannel, false, false}, {"delta", Kind::kNone, true, false},
               {"gated_delta", Kind::kPerToken, true, false}};
  for (const auto& c : cases)
    for (const bool backward : {false, true})
      for (const Index tokens : {4096, 16384, 65536})
        benchmark::RegisterBenchmark(
            (std::string(backward ? "backward/" : "forward/") + c.name + "/N=" + std::to_string(tokens)).c_str(),
            [=](benchmark::State& state) { scan(state, c.kind, c.delta, c.normalizer, tokens, backward); })
            ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
