// SPDX-License-Identifier: Apache-2.0
// Neighborhood attention beside the loop over gathered neighbours that one writes by hand. GFLOP/s count true pairs
// alone, 4 D for each.
#include "heed/neighborhood/neighborhood_attention.hpp"

#include <benchmark/benchmark.h>

#include "../common.hpp"

namespace {

using heed::Index;

struct Workload {
  heed::Tensor<float, 5> q, k, v, out;  // (B, S, S, H, D)
  heed::NeighborhoodAttention<float, 2> attend;

  explicit Workload(const benchmark::State& state)
      : q(state.range(0), state.range(1), state.range(1), state.range(2), state.range(3)),
        k(q.dimensions()),
        v(q.dimensions()),
        out(q.dimensions()),
        attend{{.kernel_size = {state.range(4), state.range(4)}, .dilation = {state.range(5), state.range(5)}}} {
    bench::fill_random(q, 1);
    bench::fill_random(k, 2);
    bench::fill_random(v, 3);
  }
  double flops() const {
    return 4.0 * double(q.size()) * double(attend.options.kernel_size[0] * attend.options.kernel_size[1]);
  }
};

template <class Call>
void measure(benchmark::State& state, const Workload& workload, const Call& call) {
  call();
  double peak = bench::multiply_add_peak<float>();
  const double start = bench::now(bench::Clock::thread);
  for (auto _ : state) call();
  const double seconds = (bench::now(bench::Clock::thread) - start) / double(state.iterations());
  peak = 0.5 * (peak + bench::multiply_add_peak<float>());
  state.counters["GFLOP/s"] = workload.flops() / seconds / 1e9;
  state.counters["share"] = workload.flops() / seconds / peak;
}

void heed_neighborhood(benchmark::State& state) {
  Workload w(state);
  measure(state, w, [&] { w.attend(Eigen::DefaultDevice(), w.q, w.k, w.v, heed::into(w.out)); });
}

// Each query's neighbours copied to two matrices, which are multiplied by Eigen.
void gathered_on_eigen(benchmark::State& state) {
  Workload w(state);
  const Index size = w.q.dimension(1), heads = w.q.dimension(3), width = w.q.dimension(4);
  const Index kernel = state.range(4), step = state.range(5);
  heed::Matrix<float> keys(kernel * kernel, width), values(kernel * kernel, width);
  Eigen::VectorXf weights(kernel * kernel);
  const float scale = 1 / std::sqrt(float(width));
  const auto first = [&](Index i) {
    const Index residue = i % step, positions = (size - residue + step - 1) / step;
    return residue + step * std::min(std::max<Index>(i / step - kernel / 2, 0), positions - kernel);
  };
  measure(state, w, [&] {
    for (Index b = 0; b < w.q.dimension(0); ++b)
      for (Index y = 0; y < size; ++y)
        for (Index x = 0; x < size; ++x)
          for (Index h = 0; h < heads; ++h) {
            for (Index t = 0; t < kernel * kernel; ++t) {
              const Index row = first(y) + t / kernel * step, column = first(x) + t % kernel * step;
              std::copy_n(&w.k(b, row, column, h, 0), width, keys.row(t).data());
              std::copy_n(&w.v(b, row, column, h, 0), width, values.row(t).data());
            }
            weights.noalias() = keys * Eigen::Map<const Eigen::VectorXf>(&w.q(b, y, x, h, 0), width);
            weights = ((weights.array() - weights.maxCoeff()) * scale).exp();
            weights /= weights.sum();
            Eigen::Map<Eigen::VectorXf>(&w.out(b, y, x, h, 0), width).noalias() = values.transpose() * weights;
          }
  });
}

void workloads(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "S", "H", "D", "kernel", "dilation"})->Unit(benchmark::kMillisecond);
  b->Args({1, 56, 3, 32, 7, 1})->Args({4, 32, 16, 64, 13, 1})->Args({1, 56, 3, 32, 7, 4});
}

}  // namespace

BENCHMARK(heed_neighborhood)->Apply(workloads);
BENCHMARK(gathered_on_eigen)->Apply(workloads);
