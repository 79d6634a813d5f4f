// SPDX-License-Identifier: Apache-2.0
#include "heed/self/landmark_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

Tensor<double, 4> naive(const Tensor<float, 4>& q, const Tensor<float, 4>& k, const Tensor<float, 4>& v,
                        const Tensor<std::uint8_t, 2>& marks) {
  Tensor<double, 4> out(v.dimensions());
  out.setZero();
  for (Index b = 0; b < q.dimension(0); ++b)
    for (Index h = 0; h < q.dimension(1); ++h)
      for (Index i = 0; i < q.dimension(2); ++i) {
        const auto e = [&](Index j) {
          double dot = 0;
          for (Index d = 0; d < q.dimension(3); ++d) dot += double(q(b, h, i, d)) * double(k(b, h, j, d));
          return std::exp(dot / std::sqrt(double(q.dimension(3))));
        };
        const auto add = [&](Index j, double weight) {
          for (Index d = 0; d < v.dimension(3); ++d) out(b, h, i, d) += weight * double(v(b, h, j, d));
        };
        Index own = 0;
        for (Index j = 0; j < i; ++j)
          if (marks(b, j)) own = j + 1;
        double total = 0;
        for (Index j = 0; j <= i; ++j)
          if (marks(b, j) ? j < i : j >= own) total += e(j);
        Index first = 0;
        for (Index j = 0; j <= i; ++j) {
          if (!marks(b, j)) {
            if (j >= own) add(j, e(j) / total);
            continue;
          }
          if (j == i) break;
          double sum = 0;
          for (Index t = first; t < j; ++t) sum += e(t);
          for (Index t = first; t < j; ++t) add(t, e(j) / total * e(t) / sum);
          first = j + 1;
        }
      }
  return out;
}

}  // namespace

TEST_CASE("landmark_attention: blocks of any length, adjacent landmarks, one at 0, none") {
  const heed::LandmarkAttention attend;
  for (const Index tokens : {0, 1, 3, 17, 63, 130})
    for (const double density : {0.0, 0.1, 0.6}) {
      const auto q = random_tensor<float, 4>({2, 3, tokens, 5}, 1), k = random_tensor<float, 4>({2, 3, tokens, 5}, 2);
      const auto v = random_tensor<float, 4>({2, 3, tokens, 7}, 3);
      auto marks = heed::test::random_mask<2>({2, tokens}, 4, density);
      if (tokens > 0 && density > 0.5) marks(0, 0) = 1;
      const auto out = attend(q, k, v, marks);
      CHECK(error_of(out, naive(q, k, v, marks)) < 1e-5);
      if (tokens > 0 && density > 0.5) CHECK(out(0, 0, 0, 0) == 0);
      for (const int threads : {2, 3}) {
        Eigen::ThreadPool pool(threads);
        const auto more = attend(Eigen::ThreadPoolDevice(&pool, threads), q, k, v, marks);
        CHECK((tokens == 0 || std::memcmp(more.data(), out.data(), sizeof(float) * std::size_t(out.size())) == 0));
      }
    }
}

TEST_CASE("landmark_attention: later tokens are not seen, NaN included; errors") {
  const heed::LandmarkAttention attend{{.scale = 0.5}};
  const auto q = random_tensor<float, 4>({1, 1, 20, 4}, 1);
  auto k = q, v = q;
  auto marks = heed::test::random_mask<2>({1, 20}, 4, 0.2);
  const auto want = attend(q, k, v, marks);
  k(0, 0, 13, 1) = v(0, 0, 13, 2) = float(kNaN);
  const auto got = attend(q, k, v, marks);
  for (Index i = 0; i < 13; ++i) CHECK(got(0, 0, i, 2) == want(0, 0, i, 2));
  marks.resize(1, 19);
  CHECK_THROWS_WITH(attend(q, k, v, marks),
                    "landmark_attention: is_landmark must have shape (B, N) = (1, 20), got (1, 19)");
}
