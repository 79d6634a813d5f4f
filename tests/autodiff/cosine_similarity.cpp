// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/cosine_similarity.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::check_gradients;
using heed::test::random_tensor;

namespace {

double worst_error(const View<const float, 4>& q, const View<const float, 4>& k, const Tensor<float, 4>& got) {
  double worst = 0;
  for (Index b = 0; b < q.size(0); ++b)
    for (Index h = 0; h < q.size(1); ++h)
      for (Index i = 0; i < q.size(2); ++i)
        for (Index j = 0; j < k.size(2); ++j) {
          double dot = 0, a = 0, c = 0;
          for (Index n = 0; n < q.size(3); ++n) {
            const double x = double(q(b, h, i, n)), y = double(k(b, h, j, n));
            dot += x * y, a += x * x, c += y * y;
          }
          worst = std::max(worst, std::abs(dot / std::sqrt(a * c) - double(got(b, h, i, j))));
        }
  return worst;
}

}  // namespace

TEST_CASE("cosine_similarity of rows along memory and across it, on any number of threads") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (const auto& [d, e, n] : {std::array<Index, 3>{1, 1, 1}, {3, 5, 17}, {32, 32, 2100}, {70, 17, 130}}) {
    const auto rows_q = random_tensor<float, 4>({1, 2, d, n}, 1), rows_k = random_tensor<float, 4>({1, 2, e, n}, 2);
    const auto tokens_q = random_tensor<float, 4>({1, n, 2, d}, 3), tokens_k = random_tensor<float, 4>({1, n, 2, e}, 4);
    const auto across = [](const Tensor<float, 4>& x) { return heed::const_view(x).permute({0, 2, 3, 1}); };
    const auto check = [&](const View<const float, 4>& q, const View<const float, 4>& k) {
      const Tensor<float, 4> got = heed::cosine_similarity(Eigen::DefaultDevice(), q, k);
      CHECK(worst_error(q, k, got) < 2e-6);
      const Tensor<float, 4> threaded = heed::cosine_similarity(device, q, k);
      CHECK(std::memcmp(got.data(), threaded.data(), std::size_t(got.size()) * sizeof(float)) == 0);
    };
    check(rows_q, rows_k);
    check(across(tokens_q), across(tokens_k));
    check(across(tokens_q), rows_k);
  }
}

TEST_CASE("cosine_similarity of a row of zeros, and errors") {
  Tensor<double, 4> q(1, 1, 2, 3), k(1, 1, 1, 3);
  q.setZero();
  k.setConstant(2);
  q(0, 0, 1, 0) = 5;
  const Tensor<double, 4> out = heed::cosine_similarity(Eigen::DefaultDevice(), q, k);
  CHECK(out(0, 0, 0, 0) == 0);
  CHECK(out(0, 0, 1, 0) == Approx(1 / std::sqrt(3.0)));
  CHECK_THROWS_AS(heed::cosine_similarity(Eigen::DefaultDevice(), q, k, 0), heed::Error);
  CHECK_THROWS_AS(heed::cosine_similarity(Eigen::DefaultDevice(), q, Tensor<double, 4>(1, 1, 1, 4)), heed::Error);
}

TEST_CASE("Gradients of cosine_similarity") {
  auto q = random_tensor<double, 4>({2, 2, 3, 5}, 1), k = random_tensor<double, 4>({2, 5, 2, 4}, 2);
  check_gradients(
      [](auto&, const auto& x, const auto& y) {
        const auto across = y.permute({0, 2, 3, 1});
        return std::make_tuple(heed::cosine_similarity(Eigen::DefaultDevice(), x, across),
                               heed::cosine_similarity(Eigen::DefaultDevice(), across, across));
      },
      q, k);
  // Below eps a norm is a constant.
  check_gradients([](auto&, const auto& x) { return heed::cosine_similarity(Eigen::DefaultDevice(), x, x, 100); }, q);
}
