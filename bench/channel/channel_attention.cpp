// SPDX-License-Identifier: Apache-2.0
// Cross-covariance attention: the attention alone, of projected tokens, and the whole operator, beside the core's FMA
// peak. `share` counts the two products alone: norms, softmax and everything else are free of operations here.
#include "measure.hpp"

#include "heed/channel/cross_covariance_attention.hpp"

namespace {

using namespace bench;

double two_products(const std::string& name) {
  const Index c = number(name, "C"), h = number(name, "H");
  return 4.0 * double(number(name, "B") * number(name, "N") * c) * double(c / h);
}

void report(benchmark::State& state, double flops, double seconds, double peak, int threads) {
  peak = 0.5 * (peak + multiply_add_peak<float>());
  state.counters["GFLOP/s"] = flops / seconds / 1e9;
  state.counters["share"] = flops / seconds / (peak * threads);
}

void attention(benchmark::State& state, const std::string& name) {
  const Index c = number(name, "C"), heads = number(name, "H");
  const int threads = int(number(name, "threads", 1));
  const std::array<Index, 3> sizes{number(name, "B"), number(name, "N"), c};
  const auto q = random<3>(sizes, 1), k = random<3>(sizes, 2), v = random<3>(sizes, 3);
  const auto temperature = random<1>({heads}, 4);
  Tensor<float, 3> out = q;
  const auto channels = [&](const auto& x) { return heed::split_heads(x, heads).permute({0, 1, 3, 2}); };
  const double peak = multiply_add_peak<float>();
  const double seconds = run(state, threads, [&](const heed::DeviceRef& device) {
    heed::cross_covariance(device, channels(q), channels(k), channels(v), temperature, 1e-12,
                           channels(heed::view(out)));
    keep(out.data());
  });
  report(state, two_products(name), seconds, peak, threads);
}

void whole(benchmark::State& state, const std::string& name) {
  const Index c = number(name, "C"), heads = number(name, "H");
  const int threads = int(number(name, "threads", 1));
  const auto x = random<3>({number(name, "B"), number(name, "N"), c});
  heed::CrossCovarianceAttention<float> op{{.num_heads = heads}};
  for (heed::Linear<float>* layer : {&op.q, &op.k, &op.v, &op.out}) *layer = {random<2>({c, c}), random<1>({c})};
  op.temperature = random<1>({heads});
  const double peak = multiply_add_peak<float>();
  const double seconds = run(state, threads, [&](const heed::DeviceRef& device) { keep(op(device, x).data()); });
  report(state, two_products(name) + 8.0 * double(x.size() * c), seconds, peak, threads);
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::string shape : {"B=1 N=3136 C=96 H=3", "B=1 N=784 C=384 H=12"})
    for (const std::string threads : {"", " threads=2"}) {
      for (const auto& [kind, f] : {std::pair("cross_covariance", &attention), std::pair("xca", &whole)}) {
        const std::string name = std::string(kind) + " " + shape + threads;
        auto* const added =
            benchmark::RegisterBenchmark(name.c_str(), [f = f, name](benchmark::State& state) { f(state, name); });
        added->Unit(benchmark::kMicrosecond);
        if (!threads.empty()) added->UseRealTime();
      }
    }
  return run_all(argc, argv);
}
