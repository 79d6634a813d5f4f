// SPDX-License-Identifier: Apache-2.0
// Rows into panels and back, and the search for what is not finite, over rows of `width` elements.
#include "heed/kernel/transpose.hpp"

#include "measure.hpp"

namespace kernel = heed::kernel;
using bench::Index;
using bench::Numbers;
using heed::bfloat16;
using heed::half;

namespace {

template <class T, class U>
void rows_to_panel(benchmark::State& state) {
  constexpr Index rows = kernel::kPanelWidth<T>;
  const Index width = state.range(0);
  Numbers<U> source(rows * width);
  Numbers<T> panel(width * rows);
  bench::measure<T>(state, 0, double(rows * width), [&] {
    kernel::rows_to_panel<T>(source.data(), width, 1, rows, width, T(0.125), panel.data());
    bench::keep(panel.data());
  });
}

template <class T, class U>
void panel_to_rows(benchmark::State& state) {
  constexpr Index rows = kernel::kPanelWidth<T>;
  const Index width = state.range(0);
  Numbers<T> panel(width * rows), scale(rows);
  Numbers<U> target(rows * width);
  bench::measure<T>(state, 0, double(rows * width), [&] {
    kernel::panel_to_rows<T>(panel.data(), scale.data(), rows, width, target.data(), width, 1);
    bench::keep(target.data());
  });
}

template <class T, class U>
void all_finite(benchmark::State& state) {
  constexpr Index rows = 96;
  const Index width = state.range(0);
  Numbers<U> data(rows * width);
  bool finite = true;
  bench::measure<T>(state, 0, double(rows * width), [&] {
    finite = finite && kernel::all_finite<T>(data.data(), width, rows, width);
    bench::keep(&finite);
  });
}

void widths(benchmark::internal::Benchmark* b) {
  for (const int width : {32, 49, 64, 128}) b->Arg(width);
}

}  // namespace

BENCHMARK_TEMPLATE(rows_to_panel, float, float)->Apply(widths);
BENCHMARK_TEMPLATE(rows_to_panel, float, bfloat16)->Apply(widths);
BENCHMARK_TEMPLATE(rows_to_panel, double, double)->Apply(widths);
BENCHMARK_TEMPLATE(panel_to_rows, float, float)->Apply(widths);
BENCHMARK_TEMPLATE(panel_to_rows, float, half)->Apply(widths);
BENCHMARK_TEMPLATE(panel_to_rows, double, double)->Apply(widths);
BENCHMARK_TEMPLATE(all_finite, float, float)->Apply(widths);
BENCHMARK_TEMPLATE(all_finite, double, double)->Apply(widths);
