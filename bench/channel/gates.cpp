// SPDX-License-Identifier: Apache-2.0
// Channel gates beside what they cannot do without: reading the map twice and writing it once, at the bandwidth that is
// measured on buffers of that size in the same run. `ratio` is the time of the gate over that; the bar is 1.25.
#include "measure.hpp"

#include <cstring>

#include "heed/channel/eca.hpp"
#include "heed/channel/squeeze_excitation.hpp"

namespace {

using namespace bench;

/// Seconds of reading x twice and writing y once, each the best of three: a pass of reads, and a pass of both.
double three_passes(const Tensor<float, 4>& x, Tensor<float, 4>& y, int threads) {
  Eigen::ThreadPool pool(threads);
  const Eigen::ThreadPoolDevice many(&pool, threads);
  const heed::DeviceRef device = threads == 1 ? heed::DeviceRef() : heed::DeviceRef(many);
  const Clock clock = clock_for(threads);
  constexpr Index part = 16384;  // floats
  const auto best = [&](const auto& pass) {
    double least = 1e9;
    for (int i = 0; i < 4; ++i) {
      const double start = now(clock);
      heed::parallel_for(device, (x.size() + part - 1) / part, [&](Index unit) {
        pass(x.data() + unit * part, y.data() + unit * part, std::min(part, x.size() - unit * part));
      });
      if (i > 0) least = std::min(least, now(clock) - start);
    }
    return least;
  };
  const double reading = best([](const float* from, float*, Index count) {
    detail::read_streams<1, 0>({reinterpret_cast<const std::byte*>(from), std::size_t(count) * sizeof(float)});
  });
  const double copying = best(
      [](const float* from, float* to, Index count) { std::memcpy(to, from, std::size_t(count) * sizeof(float)); });
  return reading + copying;
}

template <class Op>
void measure(benchmark::State& state, const std::string& name, const Op& op) {
  const int threads = int(number(name, "threads", 1));
  const auto x = random<4>({number(name, "B"), number(name, "C"), number(name, "h"), number(name, "w")});
  Tensor<float, 4> y = x;
  double least = three_passes(x, y, threads);
  const double seconds = run(state, threads, [&](const heed::DeviceRef& device) {
    y = op(device, x);
    keep(y.data());
  });
  least = std::min(least, three_passes(x, y, threads));
  state.counters["GB/s"] = 12e-9 * double(x.size()) / seconds;
  state.counters["ratio"] = seconds / least;
}

void squeeze_excitation(benchmark::State& state, const std::string& name) {
  const Index c = number(name, "C"), hidden = std::max<Index>(1, c / 16);
  heed::SqueezeExcitation<float> op;
  op.fc1 = {random<2>({hidden, c}), random<1>({hidden})};
  op.fc2 = {random<2>({c, hidden}), random<1>({c})};
  measure(state, name, op);
}

void eca(benchmark::State& state, const std::string& name) {
  heed::Eca<float> op;
  op.conv_weight = random<1>({heed::Eca<float>::kernel_size(number(name, "C"))});
  measure(state, name, op);
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::string shape : {"B=8 C=256 h=56 w=56", "B=1 C=64 h=56 w=56"})
    for (const std::string threads : {"", " threads=2"})
      for (const auto& [kind, f] : {std::pair("squeeze_excitation", &squeeze_excitation), std::pair("eca", &eca)}) {
        const std::string name = std::string(kind) + " " + shape + threads;
        auto* const added =
            benchmark::RegisterBenchmark(name.c_str(), [f = f, name](benchmark::State& state) { f(state, name); });
        added->Unit(benchmark::kMicrosecond);
        if (!threads.empty()) added->UseRealTime();
      }
  return run_all(argc, argv);
}
