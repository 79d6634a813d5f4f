// SPDX-License-Identifier: Apache-2.0
#include "heed/scan/selective_scan.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

struct Sizes {
  Index batch, channels, tokens, states;
};

template <class T>
struct Problem {
  Tensor<T, 3> u, delta, b, c, z, state;
  Tensor<T, 2> a;
  Tensor<T, 1> skip, bias;

  explicit Problem(const Sizes& s)
      : u(random_tensor<T, 3>({s.batch, s.channels, s.tokens}, 1)),
        delta(random_tensor<T, 3>({s.batch, s.channels, s.tokens}, 2, 0.5)),
        b(random_tensor<T, 3>({s.batch, s.states, s.tokens}, 3)),
        c(random_tensor<T, 3>({s.batch, s.states, s.tokens}, 4)),
        z(random_tensor<T, 3>({s.batch, s.channels, s.tokens}, 5)),
        state(random_tensor<T, 3>({s.batch, s.channels, s.states}, 6)),
        a(random_tensor<T, 2>({s.channels, s.states}, 7)),
        skip(random_tensor<T, 1>({s.channels}, 8)),
        bias(random_tensor<T, 1>({s.channels}, 9)) {
    a = -a.abs();
  }
};

template <class T>
struct Result {
  Tensor<T, 3> out, end;
};

template <class T>
Result<T> run(const Problem<T>& p, const heed::SelectiveScanOptions& options, bool bare,
              const heed::DeviceRef& device = {}) {
  Result<T> r{Tensor<T, 3>(p.u.dimensions()), Tensor<T, 3>(p.state.dimensions())};
  r.out.setConstant(T(kNaN));
  r.end.setConstant(T(kNaN));
  if (bare) {
    heed::selective_scan(device, p.u, p.delta, p.a, p.b, p.c, Tensor<T, 1>(), Tensor<T, 3>(), Tensor<T, 1>(),
                         Tensor<T, 3>(), options, r.out, r.end);
  } else {
    heed::selective_scan(device, p.u, p.delta, p.a, p.b, p.c, p.skip, p.z, p.bias, p.state, options, r.out, r.end);
  }
  return r;
}

template <class T>
Result<double> naive(const Problem<T>& p, const heed::SelectiveScanOptions& options, bool bare) {
  Result<double> r{Tensor<double, 3>(p.u.dimensions()), Tensor<double, 3>(p.state.dimensions())};
  const Index tokens = p.u.dimension(2);
  for (Index n = 0; n < p.u.dimension(0); ++n)
    for (Index e = 0; e < p.u.dimension(1); ++e) {
      std::vector<double> s;
      for (Index i = 0; i < p.a.dimension(1); ++i) s.push_back(bare ? 0 : double(p.state(n, e, i)));
      for (Index position = 0; position < tokens; ++position) {
        const Index t = options.reverse ? tokens - 1 - position : position;
        double step = double(p.delta(n, e, t)) + (bare ? 0 : double(p.bias(e)));
        if (options.delta_softplus) step = std::max(step, 0.0) + std::log1p(std::exp(-std::abs(step)));
        double y = bare ? 0 : double(p.skip(e)) * double(p.u(n, e, t));
        for (std::size_t i = 0; i < s.size(); ++i) {
          s[i] = std::exp(step * double(p.a(e, Index(i)))) * s[i] +
                 step * double(p.b(n, Index(i), t)) * double(p.u(n, e, t));
          y += double(p.c(n, Index(i), t)) * s[i];
        }
        const double z = double(p.z(n, e, t));
        r.out(n, e, t) = bare ? y : y * z / (1 + std::exp(-z));
      }
      for (std::size_t i = 0; i < s.size(); ++i) r.end(n, e, Index(i)) = s[i];
    }
  return r;
}

}  // namespace

TEMPLATE_TEST_CASE("selective_scan is its recurrence, whatever the sizes", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 1e-5 : 1e-13;
  for (const Sizes& s :
       {Sizes{1, 1, 1, 1}, {2, 3, 0, 3}, {2, 17, 3, 5}, {1, 16, 130, 16}, {2, 40, 65, 7}, {1, 8, 9, 0}})
    for (const bool bare : {true, false})
      for (const bool reverse : {false, true}) {
        const Problem<T> p(s);
        const heed::SelectiveScanOptions options{.delta_softplus = true, .reverse = reverse};
        const auto got = run(p, options, bare);
        const auto want = naive(p, options, bare);
        CHECK(error_of(got.out, want.out) < tolerance);
        CHECK(error_of(got.end, want.end) < tolerance);
      }
  // Steps below 0 let states grow.
  const Problem<T> p({1, 4, 12, 2});
  CHECK(error_of(run(p, {}, false).out, naive(p, {}, false).out) < 10 * tolerance);
}

TEST_CASE("selective_scan: channels as neighbours in memory, pieces of a sequence, and threads give the same") {
  const Problem<float> p({2, 33, 150, 6});
  const heed::SelectiveScanOptions options{.delta_softplus = true};
  const auto whole = run(p, options, false);
  const auto same_bits = [&](const Tensor<float, 3>& a, const Tensor<float, 3>& b) {
    return std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
  };

  const auto turned = [](const Tensor<float, 3>& x) {
    return Tensor<float, 3>(x.shuffle(std::array<int, 3>{0, 2, 1}));
  };
  const auto u = turned(p.u), delta = turned(p.delta), b = turned(p.b), c = turned(p.c), z = turned(p.z);
  Tensor<float, 3> out(u.dimensions()), end(p.state.dimensions());
  const auto back = [](const auto& x) { return heed::view(x).permute({0, 2, 1}); };
  heed::selective_scan(heed::DeviceRef(), back(u), back(delta), p.a, back(b), back(c), p.skip, back(z), p.bias, p.state,
                       options, View<float, 3>(out).permute({0, 2, 1}), end);
  CHECK(same_bits(turned(out), whole.out));
  CHECK(same_bits(end, whole.end));

  Tensor<float, 3> pieces(p.u.dimensions()), carried = p.state;
  for (const auto& [first, count] : {std::pair<Index, Index>{0, 1}, {1, 67}, {68, 0}, {68, 82}}) {
    const auto part = [from = first, length = count](auto& x) { return heed::view(x).slice(2, from, length); };
    heed::selective_scan(heed::DeviceRef(), part(p.u), part(p.delta), p.a, part(p.b), part(p.c), p.skip, part(p.z),
                         p.bias, Tensor<float, 3>(carried), options, part(pieces), carried);
  }
  CHECK(same_bits(pieces, whole.out));
  CHECK(same_bits(carried, whole.end));

  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  CHECK(same_bits(run(p, options, false, device).out, whole.out));
}

TEST_CASE(
    "selective_scan: a large step does not overflow, a later token is not read, and what does not fit is refused") {
  Problem<float> p({1, 5, 20, 3});
  const heed::SelectiveScanOptions options{.delta_softplus = true};
  p.delta(0, 2, 4) = 300;
  const auto want = run(p, options, false);
  CHECK(error_of(want.out, naive(p, options, false).out) < 1e-5);
  for (Index t = 11; t < 20; ++t) p.u(0, 1, t) = p.b(0, 0, t) = float(kNaN);
  const auto got = run(p, options, false);
  for (Index e = 0; e < 5; ++e)
    for (Index t = 0; t < 11; ++t) CHECK(got.out(0, e, t) == want.out(0, e, t));

  p.b = random_tensor<float, 3>({1, 2, 20}, 1);
  CHECK_THROWS_WITH(run(p, options, false), "selective_scan: B must have shape (1, 3, 20), got (1, 2, 20)");
  p.b = p.c;
  p.skip.resize(4);
  CHECK_THROWS_AS(run(p, options, false), heed::Error);
}
