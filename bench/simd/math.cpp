// SPDX-License-Identifier: Apache-2.0
// Exponentials and tanh over 4096 numbers, two batches at a time, so that their latencies overlap.
#include "heed/simd/math.hpp"

#include "../kernel/measure.hpp"

namespace simd = heed::simd;
using bench::Index;
using bench::Numbers;

namespace {

constexpr Index kCount = 4096;

template <class T, class F>
void each(benchmark::State& state, double low, double high, F f) {
  constexpr Index w = simd::kLanes<T>;
  Numbers<T> in(kCount, low, high), out(kCount);
  bench::measure<T>(state, 0, double(kCount), [&] {
    for (Index i = 0; i < kCount; i += 2 * w) {
      const simd::Batch<T> a = f(simd::load_aligned(in.data() + i)), b = f(simd::load_aligned(in.data() + i + w));
      a.store_aligned(out.data() + i);
      b.store_aligned(out.data() + i + w);
    }
    bench::keep(out.data());
  });
}

template <class T>
void exp2_nonpositive(benchmark::State& state) {
  each<T>(state, -20, 0, [](simd::Batch<T> x) { return simd::exp2_nonpositive(x); });
}
template <class T>
void exp(benchmark::State& state) {
  each<T>(state, -20, 20, [](simd::Batch<T> x) { return simd::exp<T>(x); });
}
template <class T>
void tanh(benchmark::State& state) {
  each<T>(state, -3, 3, [](simd::Batch<T> x) { return simd::tanh<T>(x); });
}

}  // namespace

BENCHMARK_TEMPLATE(exp2_nonpositive, float);
BENCHMARK_TEMPLATE(exp2_nonpositive, double);
BENCHMARK_TEMPLATE(exp, float);
BENCHMARK_TEMPLATE(exp, double);
BENCHMARK_TEMPLATE(tanh, float);
BENCHMARK_TEMPLATE(tanh, double);
