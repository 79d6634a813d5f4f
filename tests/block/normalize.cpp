// SPDX-License-Identifier: Apache-2.0
#include "heed/block/normalize.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/central_differences.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::dot;
using heed::test::error_of;
using heed::test::gradient_error;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

const Eigen::DefaultDevice kHere;

// Of the rows of (rows, C), in double. rms: about 0 and without the mean.
template <class T>
Tensor<double, 2> reference(const Tensor<T, 2>& x, const Tensor<T, 1>& weight, const Tensor<T, 1>& bias, double eps,
                            bool rms) {
  Tensor<double, 2> out(x.dimension(0), x.dimension(1));
  const Index C = x.dimension(1);
  for (Index r = 0; r < x.dimension(0); ++r) {
    double mean = 0, square = 0;
    for (Index c = 0; c < C && !rms; ++c) mean += double(x(r, c)) / double(C);
    for (Index c = 0; c < C; ++c) square += (double(x(r, c)) - mean) * (double(x(r, c)) - mean) / double(C);
    for (Index c = 0; c < C; ++c) {
      out(r, c) = (double(x(r, c)) - mean) / std::sqrt(square + eps);
      if (weight.size() > 0) out(r, c) *= double(weight(c));
      if (bias.size() > 0) out(r, c) += double(bias(c));
    }
  }
  return out;
}

template <class T, int Rank>
Tensor<T, Rank> zeros_like(const Tensor<T, Rank>& x) {
  Tensor<T, Rank> result(x.dimensions());
  result.setZero();
  return result;
}

template <class X>
bool same_bits(const X& a, const X& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), sizeof(typename X::Scalar) * std::size_t(a.size())) == 0;
}

}  // namespace

TEMPLATE_TEST_CASE("layer_norm and rms_norm follow their definitions", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  for (const Index C : {1, 3, 17, 63, 64, 129})
    for (const Index rows : {1, 5}) {
      const auto x = random_tensor<T, 2>({rows, C}, 1, 3.0);
      const auto weight = random_tensor<T, 1>({C}, 2), bias = random_tensor<T, 1>({C}, 3);
      const Tensor<T, 1> none;
      CAPTURE(C, rows);
      CHECK(error_of(heed::layer_norm(x, weight, bias), reference(x, weight, bias, 1e-5, false)) < tolerance);
      CHECK(error_of(heed::layer_norm(x, none, none, 1e-3), reference(x, none, none, 1e-3, false)) < tolerance);
      CHECK(error_of(heed::layer_norm(x, weight, none), reference(x, weight, none, 1e-5, false)) < tolerance);
      CHECK(error_of(heed::rms_norm(x, weight), reference(x, weight, none, 1e-6, true)) < tolerance);
      CHECK(error_of(heed::rms_norm(x, none, 1e-3), reference(x, none, none, 1e-3, true)) < tolerance);
    }
}

TEST_CASE("layer_norm keeps its accuracy far from 0") {
  auto x = random_tensor<float, 2>({4, 100}, 1);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = 1000 + std::round(x.data()[i] * 64) / 64;
  const Tensor<float, 1> none;
  CHECK(error_of(heed::layer_norm(x, none, none), reference(x, none, none, 1e-5, false)) < 1e-4);
}

TEST_CASE("Norms of any strides and storage") {
  const auto x = random_tensor<float, 3>({3, 40, 17}, 1);
  const auto weight = random_tensor<float, 1>({17}, 2), bias = random_tensor<float, 1>({17}, 3);
  const auto want = heed::layer_norm(x, weight, bias);
  SECTION("a transposed input and output") {
    Tensor<float, 3> turned(17, 3, 40), out(17, 3, 40);
    for (Index b = 0; b < 3; ++b)
      for (Index n = 0; n < 40; ++n)
        for (Index c = 0; c < 17; ++c) turned(c, b, n) = x(b, n, c);
    out.setConstant(float(kNaN));
    heed::layer_norm(kHere, heed::view(turned).permute({1, 2, 0}), weight, bias, 1e-5,
                     heed::view(out).permute({1, 2, 0}));
    for (Index b = 0; b < 3; ++b)
      for (Index n = 0; n < 40; ++n)
        for (Index c = 0; c < 17; ++c) CHECK(out(c, b, n) == want(b, n, c));
  }
  SECTION("in place") {
    auto y = x;
    heed::layer_norm(kHere, y, weight, bias, 1e-5, y);
    CHECK(same_bits(y, want));
  }
  SECTION("bfloat16") {
    const Tensor<heed::bfloat16, 3> narrow = x.cast<heed::bfloat16>();
    const Tensor<float, 3> rounded = narrow.cast<float>();
    const auto got = heed::layer_norm(narrow, weight, bias);
    const Tensor<heed::bfloat16, 3> expected = heed::layer_norm(rounded, weight, bias).cast<heed::bfloat16>();
    CHECK(same_bits(got, expected));
  }
  SECTION("no rows, no channels") {
    const Tensor<float, 1> none;
    CHECK(heed::layer_norm(Tensor<float, 2>(0, 17), weight, bias).size() == 0);
    CHECK(heed::rms_norm(Tensor<float, 2>(4, 0), none).size() == 0);
  }
}

TEST_CASE("Gradients of norms against central differences") {
  for (const Index C : {1, 3, 17, 40}) {
    CAPTURE(C);
    auto x = random_tensor<double, 3>({2, 3, C}, 1);
    auto weight = random_tensor<double, 1>({C}, 2);
    auto bias = random_tensor<double, 1>({C}, 3);
    const auto d_out = random_tensor<double, 3>({2, 3, C}, 4);
    auto d_x = zeros_like(x);
    auto d_weight = zeros_like(weight), d_bias = zeros_like(bias);
    SECTION("layer_norm " + std::to_string(C)) {
      heed::layer_norm_backward(kHere, x, weight, 1e-2, d_out, d_x, d_weight, d_bias);
      const auto loss = [&] { return dot(heed::layer_norm(x, weight, bias, 1e-2), d_out); };
      CHECK(gradient_error(x, d_x, loss) < 1e-8);
      CHECK(gradient_error(weight, d_weight, loss) < 1e-8);
      CHECK(gradient_error(bias, d_bias, loss) < 1e-8);
    }
    SECTION("rms_norm " + std::to_string(C)) {
      heed::rms_norm_backward(kHere, x, weight, 1e-2, d_out, d_x, d_weight);
      const auto loss = [&] { return dot(heed::rms_norm(x, weight, 1e-2), d_out); };
      CHECK(gradient_error(x, d_x, loss) < 1e-8);
      CHECK(gradient_error(weight, d_weight, loss) < 1e-8);
    }
    SECTION("without weight, and it adds " + std::to_string(C)) {
      const Tensor<double, 1> none;
      d_x.setConstant(1);
      heed::layer_norm_backward(kHere, x, none, 1e-2, d_out, d_x, View<double, 1>(), View<double, 1>());
      Tensor<double, 3> added = d_x - d_x.constant(1);
      CHECK(gradient_error(x, added, [&] { return dot(heed::layer_norm(x, none, none, 1e-2), d_out); }) < 1e-8);
    }
  }
}

TEST_CASE("Norms and their gradients have the same bits on any number of threads") {
  const auto x = random_tensor<float, 2>({700, 63}, 1), d_out = random_tensor<float, 2>({700, 63}, 2);
  const auto weight = random_tensor<float, 1>({63}, 3), bias = random_tensor<float, 1>({63}, 4);
  const auto run = [&](const auto& device) {
    auto d_x = zeros_like(x);
    auto d_weight = zeros_like(weight), d_bias = zeros_like(weight);
    heed::layer_norm_backward(device, x, weight, 1e-5, d_out, d_x, d_weight, d_bias);
    return std::tuple(heed::layer_norm(device, x, weight, bias), d_x, d_weight, d_bias);
  };
  const auto want = run(kHere);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const auto got = run(Eigen::ThreadPoolDevice(&pool, threads));
    CHECK(same_bits(std::get<0>(got), std::get<0>(want)));
    CHECK(same_bits(std::get<1>(got), std::get<1>(want)));
    CHECK(same_bits(std::get<2>(got), std::get<2>(want)));
    CHECK(same_bits(std::get<3>(got), std::get<3>(want)));
  }
}

TEST_CASE("The layers show their parameters") {
  heed::LayerNorm<float> norm{random_tensor<float, 1>({5}, 1), random_tensor<float, 1>({5}, 2)};
  std::vector<std::string> names;
  heed::for_each_parameter(norm, [&](std::string_view name, auto&) { names.emplace_back(name); });
  CHECK(names == std::vector<std::string>{"weight", "bias"});
  heed::RmsNorm<float> rms{norm.weight};
  CHECK(heed::count_parameters(rms) == 5);
  const auto x = random_tensor<float, 2>({2, 5}, 3);
  CHECK(same_bits(norm(kHere, x), heed::layer_norm(x, norm.weight, norm.bias)));
  CHECK(same_bits(rms(x), heed::rms_norm(x, rms.weight)));
}

TEST_CASE("Norms refuse shapes that do not fit") {
  const Tensor<float, 2> x(2, 5);
  const Tensor<float, 1> four(4), none;
  Tensor<float, 2> out(2, 4);
  CHECK_THROWS_WITH(heed::layer_norm(x, four, none),
                    "layer_norm: weight must be empty or have shape (5), the last axis of x, got (4)");
  CHECK_THROWS_WITH(heed::layer_norm(x, none, four),
                    "layer_norm: bias must be empty or have shape (5), the last axis of x, got (4)");
  CHECK_THROWS_WITH(heed::layer_norm(x, none, none, -1.0), "layer_norm: eps must be 0 or positive and finite, got -1");
  CHECK_THROWS_WITH(heed::rms_norm(kHere, x, none, 1e-6, out), "rms_norm: out must have shape (2, 5), got (2, 4)");
  CHECK_THROWS_WITH(heed::rms_norm_backward(kHere, x, none, 1e-6, out, out, View<float, 1>()),
                    "rms_norm_backward: d_out must have shape (2, 5), got (2, 4)");
}

TEST_CASE("Norms into memory of the caller allocate nothing after the first call") {
  const auto x = random_tensor<float, 2>({40, 63}, 1);
  const auto weight = random_tensor<float, 1>({63}, 2);
  auto out = zeros_like(x), d_x = zeros_like(x);
  auto d_weight = zeros_like(weight), d_bias = zeros_like(weight);
  const auto run = [&] {
    heed::layer_norm(kHere, x, weight, weight, 1e-5, out);
    heed::layer_norm_backward(kHere, x, weight, 1e-5, out, d_x, d_weight, d_bias);
  };
  run();
  const std::size_t before = heed::test::allocation_count();
  run();
  CHECK(heed::test::allocation_count() == before);
}
