// SPDX-License-Identifier: Apache-2.0
// The exponentials of a tile of scores.
#include "heed/kernel/softmax.hpp"

#include "measure.hpp"

namespace kernel = heed::kernel;
namespace simd = heed::simd;
using bench::Index;
using bench::Numbers;

namespace {

// The tile is its own result, and so is filled again before each call; copying alone is measured beside it.
template <class T, bool kExponentials>
void panel_exponentials(benchmark::State& state) {
  constexpr int NV = kernel::kPanelBatches;
  const Index rows = state.range(0), count = rows * kernel::kPanelWidth<T>;
  Numbers<T> scores(count, -20, 0), panel(count);
  simd::Batch<T> shift[NV], sum[NV];
  for (int v = 0; v < NV; ++v) shift[v] = sum[v] = simd::Batch<T>(T(0));
  bench::measure<T>(state, 0, double(count), [&] {
    std::copy_n(scores.data(), count, panel.data());
    if constexpr (kExponentials) kernel::panel_exponentials<kernel::Base::kTwo, NV, T>(panel.data(), rows, shift, sum);
    bench::keep(panel.data());
    bench::keep(sum);
  });
}
template <class T>
void copy(benchmark::State& state) {
  panel_exponentials<T, false>(state);
}
template <class T>
void copy_and_exponentials(benchmark::State& state) {
  panel_exponentials<T, true>(state);
}

}  // namespace

BENCHMARK_TEMPLATE(copy, float)->Arg(96);
BENCHMARK_TEMPLATE(copy_and_exponentials, float)->Arg(96);
BENCHMARK_TEMPLATE(copy, double)->Arg(96);
BENCHMARK_TEMPLATE(copy_and_exponentials, double)->Arg(96);
