// SPDX-License-Identifier: Apache-2.0
// The transpose of a square of lanes, and the sums of its rows. An element is a lane of the square.
#include "heed/simd/reduce.hpp"

#include "../kernel/measure.hpp"

namespace simd = heed::simd;
using bench::Index;
using bench::Numbers;

namespace {

template <class T>
constexpr Index kSquare = Index(simd::kLanes<T>) * simd::kLanes<T>;

template <class T>
void transpose(benchmark::State& state) {
  constexpr int w = simd::kLanes<T>;
  Numbers<T> in(kSquare<T>), out(kSquare<T>);
  bench::measure<T>(state, 0, double(kSquare<T>), [&] {
    simd::Batch<T> rows[w];
    for (int r = 0; r < w; ++r) rows[r] = simd::load_aligned(in.data() + r * w);
    simd::transpose<T>(rows);
    for (int r = 0; r < w; ++r) rows[r].store_aligned(out.data() + r * w);
    bench::keep(out.data());
  });
}

template <class T>
void reduce_add_rows(benchmark::State& state) {
  constexpr int w = simd::kLanes<T>;
  Numbers<T> in(kSquare<T>), out(w);
  bench::measure<T>(state, 0, double(kSquare<T>), [&] {
    simd::Batch<T> rows[w];
    for (int r = 0; r < w; ++r) rows[r] = simd::load_aligned(in.data() + r * w);
    simd::reduce_add_rows<T>(rows).store_aligned(out.data());
    bench::keep(out.data());
  });
}

}  // namespace

BENCHMARK_TEMPLATE(transpose, float);
BENCHMARK_TEMPLATE(transpose, double);
BENCHMARK_TEMPLATE(reduce_add_rows, float);
BENCHMARK_TEMPLATE(reduce_add_rows, double);
