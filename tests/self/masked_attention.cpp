// SPDX-License-Identifier: Apache-2.0
#include "heed/self/masked_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEMPLATE_TEST_CASE("masked_attention agrees with the definition", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-14;
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {63, 130}, {130, 63}}) {
    const auto q = random_tensor<T, 4>({2, 4, n, 6}, 1);
    const auto k = random_tensor<T, 4>({2, 2, m, 6}, 2), v = random_tensor<T, 4>({2, 2, m, 3}, 3);
    auto mask = random_mask<4>({2, 4, n, m}, 4, 0.3);
    for (Index j = 0; j < m; ++j) mask(1, 2, n / 2, j) = 0;  // an empty row
    NaiveAttention naive{.scale = 0.7};
    const auto want = naive.seeing(mask)(q, k, v);
    const MaskedAttention attend{{.scale = 0.7}};
    const auto [out, lse] = attend.attend(mask).with_lse(q, k, v);
    CHECK(error_of(out, want.out) < tolerance);
    CHECK(error_of(lse, want.lse) < tolerance);
    CHECK(lse(1, 2, n / 2) == -T(kInfinity));
    CHECK(error_of(attend(q, k, v, mask), out) == 0);

    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 2);
    Tensor<T, 4> again(2, 4, n, 3);
    Tensor<T, 3> again_lse(2, 4, n);
    attend.attend(mask)(device, q, k, v, into(again, again_lse));
    CHECK(error_of(again, out) == 0);
    CHECK(error_of(again_lse, lse) == 0);
    CHECK(error_of(attend(device, q, k, v, mask), out) == 0);
  }
}

TEST_CASE("masked_attention without a mask, and with smaller ones") {
  const auto q = random_tensor<float, 4>({2, 4, 9, 6}, 1);
  const auto k = random_tensor<float, 4>({2, 4, 20, 6}, 2), v = random_tensor<float, 4>({2, 4, 20, 3}, 3);
  const MaskedAttention attend;
  const auto want = NaiveAttention()(q, k, v);
  CHECK(error_of(attend(q, k, v), want.out) < 1e-6);
  const auto [out, lse] = attend.attend().with_lse(q, k, v);
  CHECK(error_of(lse, want.lse) < 1e-6);
  CHECK(error_of(attend(Eigen::DefaultDevice(), q, k, v), out) == 0);
  Tensor<float, 4> again(2, 4, 9, 3);
  attend.attend()(Eigen::DefaultDevice(), q, k, v, into(again));
  CHECK(error_of(again, out) == 0);

  const auto by_head = random_mask<3>({4, 9, 20}, 5, 0.5);
  const auto for_all = random_mask<2>({9, 20}, 6, 0.5);
  NaiveAttention naive;
  naive.visible = [&](Index, Index h, Index i, Index j) { return by_head(h, i, j) != 0; };
  CHECK(error_of(attend(q, k, v, by_head), naive(q, k, v).out) < 1e-6);
  naive.visible = [&](Index, Index, Index i, Index j) { return for_all(i, j) != 0; };
  CHECK(error_of(attend(q, k, v, for_all), naive(q, k, v).out) < 1e-6);
}

TEST_CASE("masked_attention names what does not fit") {
  const Tensor<float, 4> q(1, 2, 3, 4), k(1, 2, 5, 4), v(1, 2, 5, 4);
  const Tensor<std::uint8_t, 2> mask(3, 4);
  CHECK_THROWS_WITH(MaskedAttention()(q, k, v, mask),
                    "boolean_mask: the mask must be broadcastable to (1, 2, 3, 5), got (1, 1, 3, 4)");
}
