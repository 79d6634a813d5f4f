// SPDX-License-Identifier: Apache-2.0
// The dense product at the shapes of attention and of its projections, against Eigen's: GFLOP/s and share of the FMA
// peak. Names are rows x outputs x depth.
#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <vector>

#include "common.hpp"
#include "heed/kernel/gemm.hpp"

namespace {

using heed::Index;
using heed::Matrix;

template <class T>
struct Product {
  Matrix<T> a, b, c;
  Product(Index rows, Index outputs, Index depth) : a(rows, depth), b(outputs, depth), c(rows, outputs) {
    bench::fill_random(a, 1);
    bench::fill_random(b, 2);
  }
};

template <class T, class Call>
void measure(benchmark::State& state, Index rows, Index outputs, Index depth, int threads, Call&& call) {
  Product<T> p(rows, outputs, depth);
  call(p);
  const bench::Clock clock = bench::clock_for(threads);
  std::vector<double> peaks{bench::multiply_add_peak<T>()};
  const double start = bench::now(clock);
  for (auto _ : state) {
    call(p);
    bench::keep(p.c.data());
  }
  const double seconds = bench::now(clock) - start;
  peaks.push_back(bench::multiply_add_peak<T>());
  const double speed = 2.0 * double(rows * outputs * depth) * double(state.iterations()) / seconds;
  state.counters["GFLOP/s"] = speed / 1e9;
  state.counters["share"] = speed / (bench::median(peaks) * threads);
}

template <class T>
void heed_gemm(benchmark::State& state, Index rows, Index outputs, Index depth, int threads) {
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice device(&pool, threads);
  const heed::View<const T, 1> no_bias;
  measure<T>(state, rows, outputs, depth, threads, [&](Product<T>& p) {
    if (threads == 1) {
      heed::kernel::gemm(Eigen::DefaultDevice(), heed::const_view(p.a), heed::const_view(p.b), no_bias,
                         heed::view(p.c));
    } else {
      heed::kernel::gemm(device, heed::const_view(p.a), heed::const_view(p.b), no_bias, heed::view(p.c));
    }
  });
}

template <class T>
void eigen_gemm(benchmark::State& state, Index rows, Index outputs, Index depth) {
  measure<T>(state, rows, outputs, depth, 1, [](Product<T>& p) { p.c.noalias() = p.a * p.b.transpose(); });
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [rows, outputs, depth] : std::vector<std::array<Index, 3>>{{1024, 1024, 64},
                                                                              {1024, 64, 1024},
                                                                              {2048, 128, 2048},
                                                                              {512, 768, 768},
                                                                              {197, 768, 768},
                                                                              {64, 768, 768},
                                                                              {16, 768, 768},
                                                                              {1, 768, 768}}) {
    const Index n = rows, o = outputs, d = depth;
    const std::string shape = std::to_string(n) + "x" + std::to_string(o) + "x" + std::to_string(d);
    const auto add = [](const std::string& name, auto&& run) {
      return benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
    };
    add("heed float " + shape, [=](benchmark::State& s) { heed_gemm<float>(s, n, o, d, 1); });
    add("Eigen float " + shape, [=](benchmark::State& s) { eigen_gemm<float>(s, n, o, d); });
    add("heed double " + shape, [=](benchmark::State& s) { heed_gemm<double>(s, n, o, d, 1); });
    add("Eigen double " + shape, [=](benchmark::State& s) { eigen_gemm<double>(s, n, o, d); });
    add("heed float " + shape + " threads=2", [=](benchmark::State& s) {
      heed_gemm<float>(s, n, o, d, 2);
    })->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
