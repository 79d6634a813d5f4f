// SPDX-License-Identifier: Apache-2.0
#include "heed/block/top_k.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::TopKOrder;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;

TEMPLATE_TEST_CASE("top_k is what sorting gives, of equal ones the lower index", "", float, double) {
  using T = TestType;
  for (const Index m : {0, 1, 3, 17, 63, 200})
    for (const Index k : {0, 1, 3, 17, 64})
      for (const bool many_ties : {false, true}) {
        auto x = random_tensor<T, 2>({5, m}, unsigned(m));
        if (many_ties)
          for (Index i = 0; i < x.size(); ++i) x.data()[i] = std::round(x.data()[i]);
        for (Index i = 0; i < x.size(); i += 7) x.data()[i] = T(i % 2 == 0 ? -kInfinity : kNaN);
        for (const TopKOrder order : {TopKOrder::kValue, TopKOrder::kIndex}) {
          const auto got = heed::top_k(x, k, order);
          for (Index r = 0; r < 5; ++r) {
            std::vector<std::int32_t> want;
            for (Index i = 0; i < m; ++i)
              if (x(r, i) > -kInfinity) want.push_back(std::int32_t(i));
            std::stable_sort(want.begin(), want.end(), [&](Index a, Index b) { return x(r, a) > x(r, b); });
            want.resize(std::min(want.size(), std::size_t(k)));
            if (order == TopKOrder::kIndex) std::sort(want.begin(), want.end());
            want.resize(std::size_t(k), -1);
            for (Index i = 0; i < k; ++i) {
              const std::int32_t index = want[std::size_t(i)];
              CHECK(got.indices(r, i) == index);
              CHECK(double(got.values(r, i)) == (index < 0 ? -kInfinity : double(x(r, index))));
            }
          }
        }
      }
}

TEST_CASE("top_k along an axis of any strides, of 16-bit storage, on threads") {
  const auto x = random_tensor<float, 3>({3, 40, 200}, 1);
  const auto turned = heed::const_view(x).permute({2, 0, 1});
  const auto one = heed::top_k(turned, 5);
  Eigen::ThreadPool pool(3);
  const auto many = heed::top_k(Eigen::ThreadPoolDevice(&pool, 3), turned, 5);
  CHECK(std::equal(one.indices.data(), one.indices.data() + one.indices.size(), many.indices.data()));
  for (Index i = 0; i < 200; i += 19)
    for (Index j = 0; j < 3; ++j) {
      CHECK(one.values(i, j, 0) == x(j, one.indices(i, j, 0), i));
      for (Index r = 0; r < 40; ++r) CHECK(x(j, r, i) <= one.values(i, j, 0));
    }
  Tensor<heed::half, 1> stored(3);
  stored.setValues({heed::half(1), heed::half(3), heed::half(2)});
  const auto best = heed::top_k(stored, 2);
  CHECK(best.indices(0) == 1);
  CHECK(best.indices(1) == 2);
  CHECK(float(best.values(0)) == 3);
  CHECK_THROWS_AS(heed::top_k(x, -1), heed::Error);
}
