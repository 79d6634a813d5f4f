// SPDX-License-Identifier: Apache-2.0
#include "heed/scan/softmax_scan.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

// The scan is attention of queries 1 to keys of the scores.
template <class T>
Tensor<double, 4> naive_scan(const Tensor<T, 3>& g, const Tensor<T, 4>& v, bool causal) {
  const Index tokens = g.dimension(2);
  Tensor<double, 4> q(g.dimension(0), g.dimension(1), tokens, 1), k(q.dimensions());
  q.setConstant(1);
  for (Index i = 0; i < g.size(); ++i) k.data()[i] = double(g.data()[i]);
  heed::test::NaiveAttention naive{.scale = 1.0};
  naive.visible = [&](Index b, Index h, Index i, Index j) {
    return (!causal || j <= i) && double(g(b, h, j)) != -kInfinity;
  };
  return naive(q, k, v).out;
}

}  // namespace

TEMPLATE_TEST_CASE("softmax_scan is attention whose queries are all alike", "", float, double) {
  for (const Index tokens : {0, 1, 3, 17, 63})
    for (const Index width : {1, 5, 16})
      for (const bool causal : {true, false}) {
        const auto g = random_tensor<TestType, 3>({2, 3, tokens}, 1, 20);
        const auto v = random_tensor<TestType, 4>({2, 3, tokens, width}, 2);
        Tensor<TestType, 4> out(2, 3, tokens, width);
        out.setConstant(TestType(kNaN));
        heed::softmax_scan(Eigen::DefaultDevice(), g, v, causal, out);
        CHECK(error_of(out, naive_scan(g, v, causal)) < (std::same_as<TestType, float> ? 1e-5 : 1e-13));
      }
}

TEST_CASE("softmax_scan: tokens of -infinity and later ones are not seen, strides, threads, errors") {
  auto g = random_tensor<float, 3>({2, 3, 20}, 1);
  auto v = random_tensor<float, 4>({2, 3, 20, 6}, 2);
  for (const Index j : {0, 1, 7}) {
    g(0, 1, j) = -float(kInfinity);
    v(0, 1, j, 2) = float(kNaN);
  }
  const auto out = heed::softmax_scan(Eigen::DefaultDevice(), g, v, true);
  CHECK(error_of(out, naive_scan(g, v, true)) < 1e-5);
  CHECK(out(0, 1, 1, 3) == 0);
  v(1, 1, 19, 0) = float(kNaN);
  const auto again = heed::softmax_scan(Eigen::DefaultDevice(), g, v, true);
  for (Index i = 0; i < 19; ++i) CHECK(again(1, 1, i, 0) == out(1, 1, i, 0));

  Tensor<float, 4> tokens(2, 20, 3, 6);  // (B, N, H, D)
  const auto heads = heed::view(tokens).permute({0, 2, 1, 3});
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    tokens.setConstant(float(kNaN));
    heed::softmax_scan(Eigen::ThreadPoolDevice(&pool, threads), g, v, true, heads);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < 19; ++i) CHECK(std::memcmp(heads.at(b, 1, i), &again(b, 1, i, 0), 6 * sizeof(float)) == 0);
  }
  CHECK_THROWS_WITH(heed::softmax_scan(Eigen::DefaultDevice(), random_tensor<float, 3>({2, 3, 4}, 1), v, true),
                    "softmax_scan: scores must have shape (B, H, N), the axes of v (2, 3, 20, 6), got (2, 3, 4)");
}
