// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/maximum.hpp"

#include "heed/autodiff/softmax.hpp"
#include "heed/block/softmax_axis.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

TEMPLATE_TEST_CASE("max keeps the axes that it runs over with size 1", "", float, double, heed::bfloat16) {
  using T = TestType;
  const auto x = random_tensor<T, 4>({2, 5, 3, 67}, 1);
  const auto naive = [&](bool b, bool c, bool i, bool j) {
    Tensor<T, 4> want(b ? 1 : 2, c ? 1 : 5, i ? 1 : 3, j ? 1 : 67);
    want.setConstant(T(-1e30f));
    for (Index p = 0; p < 2; ++p)
      for (Index q = 0; q < 5; ++q)
        for (Index r = 0; r < 3; ++r)
          for (Index s = 0; s < 67; ++s) {
            T& most = want(b ? 0 : p, c ? 0 : q, i ? 0 : r, j ? 0 : s);
            most = std::max(most, x(p, q, r, s));
          }
    return want;
  };
  CHECK(error_of(heed::max(x, {1}), naive(false, true, false, false)) == 0);
  CHECK(error_of(heed::max(x, {2, 3}), naive(false, false, true, true)) == 0);
  CHECK(error_of(heed::max(x, {0, 2}), naive(true, false, true, false)) == 0);
  CHECK(error_of(heed::max(x, {1, 3}), naive(false, true, false, true)) == 0);
  CHECK(error_of(heed::max(x, {0, 1, 2, 3}), naive(true, true, true, true)) == 0);
  CHECK(error_of(
            heed::max(heed::view(x).permute({3, 0, 2, 1}), {0, 2}).size() > 0
                ? heed::max(heed::view(x).permute({3, 0, 2, 1}), {0, 2}).shuffle(std::array<int, 4>{1, 3, 2, 0}).eval()
                : Tensor<T, 4>(),
            naive(false, false, true, true)) == 0);
  auto poisoned = x;
  poisoned(1, 2, 1, 40) = T(kNaN);
  CHECK(std::isnan(float(heed::max(poisoned, {2, 3})(1, 2, 0, 0))));
  CHECK(std::isnan(float(heed::max(poisoned, {1})(1, 0, 1, 40))));
  CHECK_FALSE(std::isnan(float(heed::max(poisoned, {1})(1, 0, 1, 39))));
  CHECK_THROWS_AS(heed::max(x, {4}), heed::Error);
  CHECK_THROWS_AS(heed::max(Tensor<T, 2>(3, 0), {1}), heed::Error);
}

TEST_CASE("Gradients of max go to the first of the largest") {
  auto x = random_tensor<double, 4>({2, 3, 4, 5}, 1);
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(heed::max(v, {1}), heed::max(v, {2, 3}), heed::max(v.permute({0, 2, 3, 1}), {0, 2}));
      },
      x);
  Tensor<double, 2> ties(2, 3);
  ties.setConstant(1);
  heed::Tape<double> tape;
  const auto v = tape.input(ties);
  tape.backward(heed::max(v, {1}), Tensor<double, 2>(Tensor<double, 2>(2, 1).setConstant(3)), heed::max(v, {0}),
                Tensor<double, 2>(Tensor<double, 2>(1, 3).setConstant(5)));
  const auto d = tape.grad(v);
  CHECK(d(0, 0) == 8);
  CHECK(d(0, 1) == 5);
  CHECK(d(1, 0) == 3);
  CHECK(d(1, 2) == 0);
}

TEST_CASE("softmax over any axis") {
  auto x = random_tensor<double, 3>({2, 5, 7}, 1);
  const Tensor<double, 3> p = heed::softmax<1>(x);
  for (Index j = 0; j < 7; ++j) {
    double sum = 0;
    for (Index c = 0; c < 5; ++c) sum += std::exp(x(1, c, j));
    CHECK(p(1, 4, j) == Approx(std::exp(x(1, 4, j)) / sum).margin(1e-14));
  }
  CHECK(error_of(heed::softmax<2>(x), heed::softmax(x)) == 0);
  check_gradients([](auto&, const auto& v) { return std::make_tuple(heed::softmax<0>(v), heed::softmax<1>(v)); }, x);
}
