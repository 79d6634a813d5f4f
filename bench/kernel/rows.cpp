// SPDX-License-Identifier: Apache-2.0
// A few rows against many, in the first-level cache: what the decode kernel could do if memory were no limit.
//   bench_kernel_rows --benchmark_filter='<float, float>/4'
#include "heed/kernel/rows.hpp"

#include "measure.hpp"

namespace kernel = heed::kernel;
namespace simd = heed::simd;
using bench::Index;
using bench::Numbers;
using heed::bfloat16;
using heed::half;

namespace {

constexpr Index kKeys = 16;

template <class T, class U>
void row_dot(benchmark::State& state) {
  const Index rows = state.range(0), width = state.range(1), padded = kernel::padded<T>(width);
  Numbers<T> q(rows * padded), score(rows * kKeys);
  Numbers<U> keys(kKeys * width);
  bench::measure<T>(state, 2.0 * double(rows * kKeys * width), 0, [&] {
    kernel::row_dot<T>(q.data(), rows, keys.data(), width, kKeys, width, score.data(), kKeys);
    bench::keep(score.data());
  });
}

template <class T, class U>
void row_mix(benchmark::State& state) {
  const Index rows = state.range(0), width = state.range(1), padded = kernel::padded<T>(width);
  Numbers<T> p(rows * kKeys), out(rows * padded);
  Numbers<U> values(kKeys * width);
  bench::measure<T>(state, 2.0 * double(rows * kKeys * width), 0, [&] {
    kernel::row_mix<T>(p.data(), kKeys, rows, values.data(), width, kKeys, width, out.data(), padded);
    bench::keep(out.data());
  });
}

void shapes(benchmark::internal::Benchmark* b) {
  for (const int rows : {1, 2, 4, 8})
    for (const int width : {64, 100, 128}) b->Args({rows, width});
}

}  // namespace

BENCHMARK_TEMPLATE(row_dot, float, float)->Apply(shapes);
BENCHMARK_TEMPLATE(row_dot, float, bfloat16)->Apply(shapes);
BENCHMARK_TEMPLATE(row_dot, float, half)->Apply(shapes);
BENCHMARK_TEMPLATE(row_dot, double, double)->Apply(shapes);
BENCHMARK_TEMPLATE(row_mix, float, float)->Apply(shapes);
BENCHMARK_TEMPLATE(row_mix, float, bfloat16)->Apply(shapes);
BENCHMARK_TEMPLATE(row_mix, float, half)->Apply(shapes);
BENCHMARK_TEMPLATE(row_mix, double, double)->Apply(shapes);
