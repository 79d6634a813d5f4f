// SPDX-License-Identifier: Apache-2.0
#include "heed/block/activation.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/central_differences.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

const Eigen::DefaultDevice kHere;

// Calls check(function, definition in long double) for each activation.
template <class Check>
void for_each_activation(Check&& check) {
  using L = long double;
  const auto normal_cdf = [](L x) { return 0.5L * std::erfc(-x * 0.70710678118654752440L); };
  check("relu", heed::Relu(), [](L x) { return x > 0 ? x : 0; });
  check("sigmoid", heed::Sigmoid(), [](L x) { return 1 / (1 + std::exp(-x)); });
  check("tanh", heed::Tanh(), [](L x) { return std::tanh(x); });
  check("silu", heed::Silu(), [](L x) { return x / (1 + std::exp(-x)); });
  check("gelu", heed::Gelu(), [&](L x) { return x * normal_cdf(x); });
  check("gelu_tanh", heed::GeluTanh(),
        [](L x) { return x / 2 * (1 + std::tanh(0.79788456080286535588L * (x + 0.044715L * x * x * x))); });
  check("softplus", heed::Softplus(),
        [](L x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); });
  check("exp", heed::Exp(), [](L x) { return std::exp(x); });
}

template <class T>
Tensor<T, 1> numbers(T from, T to, Index count) {
  Tensor<T, 1> x(count);
  for (Index i = 0; i < count; ++i) x(i) = from + (to - from) * T(i) / T(count - 1);
  return x;
}

struct Cube {
  template <heed::Real T>
  heed::simd::Batch<T> value(heed::simd::Batch<T> x) const {
    return x * x * x;
  }
  template <heed::Real T>
  heed::simd::Batch<T> derivative(heed::simd::Batch<T> x) const {
    return x * x * T(3);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Activations follow their definitions", "", float, double) {
  using T = TestType;
  const auto x = numbers<T>(T(-12), T(12), 4001);
  for_each_activation([&](const char* name, auto f, auto exact) {
    const auto y = heed::activate(f, x);
    double worst = 0;
    for (Index i = 0; i < x.size(); ++i) {
      const double want = double(exact((long double)(x(i))));
      const double error = std::abs(double(y(i)) - want) / (1 + std::abs(want));
      worst = error <= worst ? worst : error;
    }
    CAPTURE(name, worst);
    CHECK(worst < (std::same_as<T, float> ? 1e-6 : 2e-15));
  });
}

TEST_CASE("Derivatives of activations against central differences") {
  auto x = numbers<double>(-9.0, 9.0, 500);  // none of them 0, where relu has a corner
  const auto d_out = random_tensor<double, 1>({500}, 1);
  for_each_activation([&](const char* name, auto f, auto) {
    Tensor<double, 1> d_x(500);
    d_x.setZero();
    heed::activate_backward(kHere, f, x, d_out, d_x);
    CAPTURE(name);
    CHECK(heed::test::gradient_error(x, d_x, [&] { return heed::test::dot(heed::activate(f, x), d_out); }) < 1e-8);
  });
}

TEMPLATE_TEST_CASE("Activations far out are finite, and NaN stays", "", float, double) {
  using T = TestType;
  const T far = std::sqrt(std::numeric_limits<T>::max()) * T(16);
  Tensor<T, 1> x(5);
  x.setValues({-far, far, T(-100), T(80), T(kNaN)});
  Tensor<T, 1> ones(5);
  ones.setConstant(1);
  for_each_activation([&](const char* name, auto f, auto) {
    if (std::same_as<decltype(f), heed::Exp>) return;
    const auto y = heed::activate(f, x);
    Tensor<T, 1> d(5);
    d.setZero();
    heed::activate_backward(kHere, f, x, ones, d);
    CAPTURE(name);
    for (Index i = 0; i < 4; ++i) {
      CHECK(std::isfinite(y(i)));
      CHECK(std::isfinite(d(i)));
    }
    CHECK(std::isnan(y(4)));
  });
}

TEST_CASE("The functions are the structures") {
  const auto x = random_tensor<float, 2>({3, 17}, 1);
  const auto same = [](const auto& a, const auto& b) {
    return std::memcmp(a.data(), b.data(), sizeof(float) * std::size_t(a.size())) == 0;
  };
  CHECK(same(heed::relu(x), heed::activate(heed::Relu(), x)));
  CHECK(same(heed::sigmoid(x), heed::activate(heed::Sigmoid(), x)));
  CHECK(same(heed::tanh(x), heed::activate(heed::Tanh(), x)));
  CHECK(same(heed::silu(kHere, x), heed::activate(heed::Silu(), x)));
  CHECK(same(heed::gelu(x), heed::activate(heed::Gelu(), x)));
  CHECK(same(heed::gelu_tanh(x), heed::activate(heed::GeluTanh(), x)));
  CHECK(same(heed::softplus(x), heed::activate(heed::Softplus(), x)));
  CHECK(same(heed::exp(x), heed::activate(heed::Exp(), x)));
}

TEST_CASE("A user's own function") {
  auto x = random_tensor<double, 2>({3, 17}, 1);
  const auto d_out = random_tensor<double, 2>({3, 17}, 2);
  Tensor<double, 2> d_x(3, 17);
  d_x.setZero();
  heed::activate_backward(kHere, Cube(), x, d_out, d_x);
  CHECK(heed::test::gradient_error(x, d_x, [&] { return heed::test::dot(heed::activate(Cube(), x), d_out); }) < 1e-8);
}

TEST_CASE("An element has the same bits in any shape, strides and threads") {
  const Index B = 3, N = 70, C = 63;
  const auto x = random_tensor<float, 3>({B, N, C}, 1);
  const auto want = heed::gelu(x);
  const auto check = [&](const auto& got) {
    bool same = true;
    for (Index b = 0; b < B; ++b)
      for (Index n = 0; n < N; ++n)
        for (Index c = 0; c < C; ++c) same = same && got(b, n, c) == want(b, n, c);
    CHECK(same);
  };
  SECTION("transposed") {
    Tensor<float, 3> turned(C, B, N), out(C, B, N);
    for (Index b = 0; b < B; ++b)
      for (Index n = 0; n < N; ++n)
        for (Index c = 0; c < C; ++c) turned(c, b, n) = x(b, n, c);
    out.setConstant(float(kNaN));
    const auto to = heed::view(out).permute({1, 2, 0});
    heed::activate(kHere, heed::Gelu(), heed::view(turned).permute({1, 2, 0}), to);
    check(to);
  }
  SECTION("a slice, and nothing beside it is touched") {
    Tensor<float, 3> wide(B, N + 1, C + 2);
    wide.setConstant(7);
    const auto to = heed::view(wide).slice(1, 0, N).slice(2, 1, C);
    heed::activate(kHere, heed::Gelu(), x, to);
    check(to);
    for (Index b = 0; b < B; ++b)
      for (Index n = 0; n < N; ++n) CHECK((wide(b, n, 0) == 7 && wide(b, n, C + 1) == 7));
  }
  SECTION("threads") {
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      check(heed::gelu(Eigen::ThreadPoolDevice(&pool, threads), x));
    }
  }
  SECTION("in place, and bfloat16") {
    Tensor<heed::bfloat16, 3> narrow = x.cast<heed::bfloat16>();
    const Tensor<heed::bfloat16, 3> expected =
        heed::gelu(Tensor<float, 3>(narrow.cast<float>())).cast<heed::bfloat16>();
    heed::activate(kHere, heed::Gelu(), narrow, narrow);
    CHECK(std::memcmp(narrow.data(), expected.data(), sizeof(heed::bfloat16) * std::size_t(narrow.size())) == 0);
  }
  SECTION("nothing") { CHECK(heed::gelu(Tensor<float, 3>(2, 0, 3)).size() == 0); }
}

TEST_CASE("activate refuses shapes that do not fit") {
  const Tensor<float, 2> x(2, 5);
  Tensor<float, 2> out(5, 2);
  CHECK_THROWS_WITH(heed::activate(kHere, heed::Relu(), x, out), "activate: out must have shape (2, 5), got (5, 2)");
  CHECK_THROWS_WITH(heed::activate_backward(kHere, heed::Relu(), x, x, out),
                    "activate_backward: d_x must have shape (2, 5), got (5, 2)");
}
