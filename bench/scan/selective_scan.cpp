// SPDX-License-Identifier: Apache-2.0
// The selective scan beside a plain loop and beside nothing but its exponentials, one for each state and token.
//   bench_scan_selective_scan            `speedup`: the loop's time over the scan's; `exps`: the scan's over exp's
#include "heed/scan/selective_scan.hpp"

#include <cmath>

#include "../kernel/measure.hpp"

namespace simd = heed::simd;
using bench::Clock;
using bench::Index;
using heed::Tensor;

namespace {

struct Problem {
  Tensor<float, 3> u, delta, b, c, out, end, none_3, d_u, d_delta, d_b, d_c;
  Tensor<float, 2> a, d_a;
  Tensor<float, 1> skip, none_1;

  // Tokens or channels are neighbours in memory.
  Problem(Index channels, Index tokens, Index states)
      : u(1, channels, tokens),
        delta(1, channels, tokens),
        b(1, states, tokens),
        c(1, states, tokens),
        out(1, channels, tokens),
        end(1, channels, states),
        d_u(1, channels, tokens),
        d_delta(1, channels, tokens),
        d_b(1, states, tokens),
        d_c(1, states, tokens),
        a(channels, states),
        d_a(channels, states),
        skip(channels) {
    bench::fill_random(u, 1);
    bench::fill_random(delta, 2);
    bench::fill_random(b, 3);
    bench::fill_random(c, 4);
    bench::fill_random(a, 5);
    bench::fill_random(skip, 6);
    a = -a.abs();
  }

  template <bool kChannelsLast>
  auto sequence(Tensor<float, 3>& x) const {
    if constexpr (kChannelsLast) {
      return heed::View<float, 3>(x.data(), {1, x.dimension(2), x.dimension(1)}).permute({0, 2, 1});
    } else {
      return heed::view(x);
    }
  }

  template <bool kChannelsLast>
  void scan() {
    heed::selective_scan(heed::DeviceRef(), sequence<kChannelsLast>(u), sequence<kChannelsLast>(delta), a, b, c, skip,
                         none_3, none_1, none_3, {.delta_softplus = true}, sequence<kChannelsLast>(out), end);
    bench::keep(out.data());
  }

  void backward() {
    using heed::const_view;
    using heed::view;
    const heed::detail::ScanOperands<const float> x{
        const_view(u), const_view(delta), const_view(a), const_view(b), const_view(c), const_view(skip), {}, {}, {}};
    heed::selective_scan_backward<heed::DeviceRef, float>(
        heed::DeviceRef(), x, {.delta_softplus = true}, const_view(out), {},
        {view(d_u), view(d_delta), view(d_a), view(d_b), view(d_c), {}, {}, {}, {}});
    bench::keep(d_u.data());
  }

  void loop() {
    const Index channels = u.dimension(1), tokens = u.dimension(2), states = a.dimension(1);
    std::vector<float> s(static_cast<std::size_t>(states));
    for (Index e = 0; e < channels; ++e) {
      std::fill(s.begin(), s.end(), 0.f);
      for (Index t = 0; t < tokens; ++t) {
        const float step = std::log1p(std::exp(delta(0, e, t))), input = step * u(0, e, t);
        float y = skip(e) * u(0, e, t);
        for (Index i = 0; i < states; ++i) {
          float& state = s[std::size_t(i)];
          state = std::exp(step * a(e, i)) * state + input * b(0, i, t);
          y += state * c(0, i, t);
        }
        out(0, e, t) = y;
      }
    }
    bench::keep(out.data());
  }

  // As many exponentials, in the first-level cache.
  void exponentials() {
    constexpr Index w = simd::kLanes<float>;
    alignas(64) float row[64 * w];
    std::copy_n(a.data(), std::min<Index>(a.size(), 64 * w), row);
    for (Index rest = u.size() * a.dimension(1); rest > 0; rest -= 64 * w) {
      for (Index i = 0; i < 64 * w; i += w) simd::exp<float>(simd::load_aligned(row + i)).store_aligned(row + i);
      for (Index i = 0; i < 64 * w; i += w) (-simd::load_aligned(row + i)).store_aligned(row + i);
    }
    bench::keep(row);
  }
};

double time_of(const std::function<void()>& call) { return bench::Timed(call, Clock::thread).repetition(); }

// E, L, n; what is timed.
enum Form : std::int64_t { kTokensLast, kChannelsLast, kBackward };

void selective_scan(benchmark::State& state) {
  Problem p(state.range(0), state.range(1), state.range(2));
  const auto call = [&] {
    switch (state.range(3)) {
      case kTokensLast:
        return p.scan<false>();
      case kChannelsLast:
        return p.scan<true>();
      default:
        return p.backward();
    }
  };
  const double exps = time_of([&] { p.exponentials(); }), loop = time_of([&] { p.loop(); });
  call();
  const double start = bench::now(Clock::thread);
  for (auto _ : state) call();
  const double seconds = (bench::now(Clock::thread) - start) / double(state.iterations());
  state.counters["Gstate/s"] = double(p.u.size() * p.a.dimension(1)) / seconds / 1e9;
  state.counters["speedup"] = loop / seconds;
  state.counters["exps"] = seconds / (0.5 * (exps + time_of([&] { p.exponentials(); })));
}
BENCHMARK(selective_scan)
    ->ArgNames({"E", "L", "n", "form"})
    ->Args({768, 1024, 16, kTokensLast})
    ->Args({768, 1024, 16, kChannelsLast})
    ->Args({768, 1024, 16, kBackward})
    ->Args({1536, 4096, 16, kTokensLast})
    ->Args({1536, 4096, 16, kChannelsLast})
    ->Args({256, 4096, 64, kChannelsLast})
    ->Unit(benchmark::kMillisecond);

}  // namespace
