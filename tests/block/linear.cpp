// SPDX-License-Identifier: Apache-2.0
#include "heed/block/linear.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"

using heed::Index;
using heed::Linear;
using heed::Tensor;
using heed::test::contains;

namespace {

template <class T, int Rank>
Tensor<T, Rank> random_tensor(const std::array<Index, std::size_t(Rank)>& sizes, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Tensor<T, Rank> x(sizes);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = T(normal(engine));
  return x;
}

template <class X>
bool same_bits(const X& a, const X& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), sizeof(typename X::Scalar) * std::size_t(a.size())) == 0;
}

template <class T>
Linear<T> random_layer(Index out, Index in) {
  return {random_tensor<T, 2>({out, in}, 1), random_tensor<T, 1>({out}, 2)};
}

}  // namespace

TEMPLATE_TEST_CASE("Linear maps the last axis", "", float, double) {
  const Index B = 2, N = 17, in = 63, out = 5;
  const auto layer = random_layer<TestType>(out, in);
  const auto x = random_tensor<TestType, 3>({B, N, in}, 3);
  const auto y = layer(x);
  REQUIRE(y.dimension(0) == B);
  REQUIRE(y.dimension(1) == N);
  REQUIRE(y.dimension(2) == out);
  for (Index b = 0; b < B; ++b)
    for (Index n = 0; n < N; ++n)
      for (Index o = 0; o < out; ++o) {
        double want = double(layer.bias(o));
        for (Index d = 0; d < in; ++d) want += double(x(b, n, d)) * double(layer.weight(o, d));
        CHECK(std::abs(double(y(b, n, o)) - want) <= 1e-5 * (1 + std::abs(want)));
      }
}

TEST_CASE("Linear takes Eigen's matrices and vectors") {
  const auto layer = random_layer<float>(5, 7);
  const auto x = random_tensor<float, 2>({3, 7}, 3);
  const auto want = layer(x);
  using Matrix = heed::Matrix<float>;
  const Matrix weight = Eigen::Map<const Matrix>(layer.weight.data(), 5, 7);
  const Eigen::VectorXf bias = Eigen::Map<const Eigen::VectorXf>(layer.bias.data(), 5);
  const Matrix rows = Eigen::Map<const Matrix>(x.data(), 3, 7);
  CHECK(same_bits(heed::linear(rows, weight, bias), want));
  const Eigen::RowVectorXf row_bias = bias;
  CHECK(same_bits(heed::linear(rows, weight, row_bias), want));
  Eigen::VectorXf out(5);
  out.setConstant(std::numeric_limits<float>::quiet_NaN());
  heed::linear(Eigen::DefaultDevice(), rows.row(1), weight, bias, out);
  for (Index o = 0; o < 5; ++o) CHECK(out(o) == want(1, o));
}

TEST_CASE("A layer without bias adds nothing") {
  auto layer = random_layer<float>(7, 9);
  const auto x = random_tensor<float, 2>({3, 9}, 3);
  const auto with = layer(x);
  const auto bias = layer.bias;
  layer.bias = {};
  const auto without = layer(x);
  for (Index n = 0; n < 3; ++n)
    for (Index o = 0; o < 7; ++o) CHECK(std::abs(with(n, o) - (without(n, o) + bias(o))) < 1e-5f);
}

TEST_CASE("The rank changes nothing, nor do strides, nor threads") {
  const Index B = 3, N = 70, in = 40, out = 90;
  const auto layer = random_layer<float>(out, in);
  const auto x = random_tensor<float, 3>({B, N, in}, 4);
  const auto y = layer(x);
  SECTION("one token, alone and in a batch") {
    const auto tokens = random_tensor<float, 3>({9, 1, in}, 5);
    const auto want = layer(tokens);
    for (const Index b : {0, 8}) {
      const heed::View<const float, 1> row(&tokens(b, 0, 0), {in});
      const Tensor<float, 1> one = layer(row);
      CHECK(std::memcmp(one.data(), &want(b, 0, 0), sizeof(float) * std::size_t(out)) == 0);
    }
  }
  SECTION("as (B N, in)") {
    const heed::View<const float, 2> flat(x.data(), {B * N, in});
    const Tensor<float, 2> rows = layer(flat);
    CHECK(std::memcmp(rows.data(), y.data(), sizeof(float) * std::size_t(y.size())) == 0);
  }
  SECTION("as (1, B, N, in)") {
    const heed::View<const float, 4> promoted(x.data(), {1, B, N, in});
    CHECK(std::memcmp(layer(promoted).data(), y.data(), sizeof(float) * std::size_t(y.size())) == 0);
  }
  SECTION("rows that do not lie evenly") {
    Tensor<float, 3> wide(B, N + 2, in);
    wide.setConstant(std::numeric_limits<float>::quiet_NaN());
    const auto inside = heed::view(wide).slice(1, 1, N);
    for (Index b = 0; b < B; ++b)
      for (Index n = 0; n < N; ++n)
        for (Index d = 0; d < in; ++d) inside(b, n, d) = x(b, n, d);
    CHECK(same_bits(layer(inside), y));
    Tensor<float, 3> target(B, N + 2, out);
    target.setConstant(7);
    layer(Eigen::DefaultDevice(), x, heed::view(target).slice(1, 1, N));
    for (Index b = 0; b < B; ++b) {
      CHECK(std::memcmp(&target(b, 1, 0), &y(b, 0, 0), sizeof(float) * std::size_t(N * out)) == 0);
      CHECK(target(b, 0, out - 1) == 7);
      CHECK(target(b, N + 1, 0) == 7);
    }
  }
  SECTION("threads") {
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      CHECK(same_bits(layer(Eigen::ThreadPoolDevice(&pool, threads), x), y));
    }
  }
}

TEST_CASE("Linear over no rows is empty") {
  const auto layer = random_layer<float>(4, 3);
  CHECK(layer(Tensor<float, 2>(0, 3)).size() == 0);
  CHECK(layer(Tensor<float, 3>(2, 0, 3)).size() == 0);
  CHECK(layer(Tensor<float, 3>(0, 2, 3)).size() == 0);
}

TEST_CASE("16-bit layers on float inputs, and the reverse") {
  const auto layer = random_layer<float>(20, 30);
  const Linear<heed::bfloat16> narrow{layer.weight.cast<heed::bfloat16>(), layer.bias.cast<heed::bfloat16>()};
  const Linear<float> rounded{narrow.weight.cast<float>(), narrow.bias.cast<float>()};
  const Tensor<float, 2> x = random_tensor<float, 2>({11, 30}, 5);
  CHECK(same_bits(narrow(x), rounded(x)));
  const Tensor<heed::half, 2> x_half = x.cast<heed::half>();
  const Tensor<heed::half, 2> y = layer(x_half);
  const auto want = layer(Tensor<float, 2>(x_half.cast<float>()));
  for (Index i = 0; i < y.size(); ++i) CHECK(y.data()[i] == heed::half(want.data()[i]));
}

TEST_CASE("Linear shows its parameters") {
  auto layer = random_layer<float>(2, 3);
  std::vector<std::string> names;
  heed::for_each_parameter(layer, [&](std::string_view name, auto&) { names.emplace_back(name); });
  CHECK(names == std::vector<std::string>{"weight", "bias"});
  CHECK(heed::count_parameters(layer) == 8);
}

TEST_CASE("linear refuses shapes that do not fit") {
  const auto layer = random_layer<float>(4, 3);
  CHECK_THROWS_WITH(layer(Tensor<float, 2>(5, 2)),
                    "linear: weight must have shape (out, in) with in = 2, the last axis of x, got (4, 3)");
  const Linear<float> wrong{layer.weight, Tensor<float, 1>(3)};
  CHECK_THROWS_WITH(wrong(Tensor<float, 2>(5, 3)), "linear: bias must be empty or have shape (4), got (3)");
  Tensor<float, 2> out(5, 3);
  CHECK_THROWS_WITH(layer(Eigen::DefaultDevice(), Tensor<float, 2>(5, 3), out),
                    "linear: out must have shape (5, 4), got (5, 3)");
}
