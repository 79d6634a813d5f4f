// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/score/relative.hpp"

#include <cmath>

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::contains;

namespace {

template <class T, int Rank>
Tensor<T, Rank> random(std::array<Index, Rank> sizes) {
  Eigen::DSizes<Index, Rank> dimensions;
  std::copy(sizes.begin(), sizes.end(), dimensions.begin());
  Tensor<T, Rank> x(dimensions);
  x.setRandom();
  return x - x.constant(T(0.5));
}

// The largest difference between the fused bias and the same as a tensor.
template <class T, class U>
double difference(Index n, Index m, const heed::RelativePositionOptions& options, std::optional<Index> offset) {
  const Index heads = 3;
  const auto q = random<T, 4>({2, heads, n, 5}), k = random<T, 4>({2, 1, m, 5}), v = random<T, 4>({2, 1, m, 4});
  Tensor<U, 2> table(options.num_buckets, heads);
  for (Index i = 0; i < table.size(); ++i) table.data()[i] = static_cast<U>(3 * std::sin(double(7 * i + 1)));
  const heed::RelativeBuckets buckets(options, "test");
  Tensor<T, 3> bias(heads, n, m);
  for (Index h = 0; h < heads; ++h)
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < m; ++j) bias(h, i, j) = static_cast<T>(table(buckets(j - i - offset.value_or(m - n)), h));
  const heed::SoftmaxOptions softmax{.scale = 1, .position_offset = offset};
  const auto want = heed::softmax_attention(heed::bias(bias), softmax)(q, k, v);
  const auto got = heed::softmax_attention(heed::relative_position(table, options), softmax)(q, k, v);
  double worst = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double error = std::abs(double(want.data()[i]) - double(got.data()[i]));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace

TEST_CASE("The fused bias is that of the tensor, with lanes over queries and over keys") {
  for (const bool bidirectional : {true, false})
    for (const Index n : {1, 3, 17, 63, 200})
      for (const Index m : {1, 17, 63, 500}) {
        CHECK(difference<float, float>(n, m, {bidirectional, 8, 16}, std::nullopt) < 1e-6);
        CHECK(difference<float, float>(n, m, {bidirectional, 32, 128}, std::nullopt) < 1e-6);
      }
  CHECK(difference<float, float>(63, 100, {true, 8, 16}, 0) < 1e-6);
  CHECK(difference<float, float>(63, 100, {true, 8, 16}, -300) < 1e-6);
  CHECK(difference<float, float>(2, 100, {true, 8, 16}, 1000) < 1e-6);
  CHECK(difference<float, float>(70, 30, {true, 2, 1}, 0) < 1e-6);
}

TEST_CASE("In double, and with a table of another type") {
  CHECK(difference<double, double>(63, 100, {true, 8, 16}, std::nullopt) < 1e-14);
  CHECK(difference<double, float>(3, 100, {true, 8, 16}, std::nullopt) < 1e-14);
  CHECK(difference<float, heed::bfloat16>(40, 100, {false, 8, 16}, std::nullopt) < 1e-6);
  CHECK(difference<float, heed::half>(1, 100, {false, 8, 16}, std::nullopt) < 1e-6);
}

TEST_CASE("The table is checked") {
  Tensor<float, 2> table(32, 3);
  table.setZero();
  CHECK_THROWS_WITH(
      heed::relative_position(table, {.num_buckets = 8}),
      contains("relative_position: the table must have shape (num_buckets, H) with 8 buckets, got (32, 3)"));
  CHECK_THROWS_WITH(heed::relative_position(table, {.max_distance = 4}),
                    contains("relative_position: max_distance must be more than 8"));
  const auto attention = heed::softmax_attention(heed::relative_position(table));
  Tensor<float, 4> x(1, 4, 2, 2);
  x.setZero();
  CHECK_THROWS_WITH(attention(x, x, x),
                    contains("relative_position: the table must have shape (num_buckets, H) with H = 4, got 3 heads"));
  table(3, 1) = -std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(heed::relative_position(table),
                    contains("relative_position: the table must be finite, element (3, 1) is -inf"));
}

TEST_CASE("The table is copied") {
  Tensor<float, 2> table(32, 1);
  table.setZero();
  table.chip(0, 0).setConstant(5.F);
  const auto attention = heed::softmax_attention(heed::relative_position(table));
  const auto q = random<float, 4>({1, 1, 3, 2}), v = random<float, 4>({1, 1, 3, 2});
  const auto before = attention(q, q, v);
  table.setZero();
  const auto after = attention(q, q, v);
  CHECK(before(0, 0, 1, 1) == after(0, 0, 1, 1));
}
