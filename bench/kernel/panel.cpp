// SPDX-License-Identifier: Apache-2.0
// Products of panels, as the fused kernel calls them: 96 keys or values against NV batches of queries.
//   bench_kernel_panel --benchmark_filter=dot
#include "heed/kernel/panel.hpp"

#include "measure.hpp"

namespace kernel = heed::kernel;
namespace simd = heed::simd;
using bench::Index;
using bench::Numbers;

namespace {

constexpr Index kRows = 96;

template <class T, int NV>
void panel_dot(benchmark::State& state) {
  const Index depth = state.range(0);
  Numbers<T> a(kRows * depth), b(depth * kernel::kPanelWidth<T>), c(kRows * kernel::kPanelWidth<T>);
  simd::Batch<T> highest[NV];
  for (auto& x : highest) x = simd::Batch<T>(T(0));
  bench::measure<T>(state, 2.0 * double(kRows * depth * NV * simd::kLanes<T>), 0, [&] {
    kernel::panel_dot<NV, T>(a.data(), depth, kRows, b.data(), depth, c.data(), highest);
    bench::keep(c.data());
  });
}

template <class T, int NV>
void panel_accumulate(benchmark::State& state) {
  const Index width = state.range(0);
  Numbers<T> a(kRows * width), b(kRows * kernel::kPanelWidth<T>), c(width * kernel::kPanelWidth<T>);
  simd::Batch<T> scale[NV];
  for (auto& x : scale) x = simd::Batch<T>(T(0.5));
  bench::measure<T>(state, 2.0 * double(kRows * width * NV * simd::kLanes<T>), 0, [&] {
    kernel::panel_accumulate<NV, T>(a.data(), width, width, b.data(), kRows, c.data(), scale);
    bench::keep(c.data());
  });
}

void widths(benchmark::internal::Benchmark* b) {
  for (const int width : {32, 49, 64, 128}) b->Arg(width);
}

}  // namespace

BENCHMARK_TEMPLATE(panel_dot, float, 1)->Apply(widths);
BENCHMARK_TEMPLATE(panel_dot, float, 2)->Apply(widths);
BENCHMARK_TEMPLATE(panel_accumulate, float, 1)->Apply(widths);
BENCHMARK_TEMPLATE(panel_accumulate, float, 2)->Apply(widths);
#if defined(__AVX512F__) || defined(__aarch64__)
BENCHMARK_TEMPLATE(panel_dot, float, 3)->Apply(widths);
BENCHMARK_TEMPLATE(panel_dot, float, 4)->Apply(widths);
BENCHMARK_TEMPLATE(panel_accumulate, float, 3)->Apply(widths);
BENCHMARK_TEMPLATE(panel_accumulate, float, 4)->Apply(widths);
#endif
BENCHMARK_TEMPLATE(panel_dot, double, kernel::kPanelBatches)->Apply(widths);
BENCHMARK_TEMPLATE(panel_accumulate, double, kernel::kPanelBatches)->Apply(widths);
