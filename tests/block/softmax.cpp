// SPDX-License-Identifier: Apache-2.0
#include "heed/block/softmax.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/central_differences.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

const Eigen::DefaultDevice kHere;

template <class T>
Tensor<double, 2> reference(const Tensor<T, 2>& x) {
  Tensor<double, 2> out(x.dimension(0), x.dimension(1));
  for (Index r = 0; r < x.dimension(0); ++r) {
    double most = -kInfinity, sum = 0;
    for (Index c = 0; c < x.dimension(1); ++c) most = std::max(most, double(x(r, c)));
    for (Index c = 0; c < x.dimension(1); ++c) sum += std::exp(double(x(r, c)) - most);
    for (Index c = 0; c < x.dimension(1); ++c) out(r, c) = std::exp(double(x(r, c)) - most) / sum;
  }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("softmax follows its definition", "", float, double) {
  using T = TestType;
  for (const Index C : {1, 3, 17, 63, 1025}) {
    auto x = random_tensor<T, 2>({5, C}, 1, 4.0);
    if (C > 1) x(2, 1) = T(-kInfinity);
    if (C > 1) x(3, 0) = T(300);
    CAPTURE(C);
    CHECK(error_of(heed::softmax(x), reference(x)) < (std::same_as<T, float> ? 1e-6 : 1e-14));
  }
}

TEST_CASE("A row of -infinity gives 0, one with NaN gives NaN") {
  Tensor<float, 2> x(3, 19);
  x.setConstant(-float(kInfinity));
  x(1, 18) = float(kNaN);
  x(2, 4) = 3;
  const auto y = heed::softmax(x);
  for (Index c = 0; c < 19; ++c) {
    CHECK(y(0, c) == 0);
    CHECK(std::isnan(y(1, c)));
    CHECK(y(2, c) == float(c == 4));
  }
}

TEST_CASE("The gradient of softmax against central differences") {
  auto x = random_tensor<double, 3>({2, 3, 17}, 1);
  const auto d_out = random_tensor<double, 3>({2, 3, 17}, 2);
  Tensor<double, 3> d_x(2, 3, 17);
  d_x.setConstant(1);
  heed::softmax_backward(kHere, heed::softmax(x), d_out, d_x);
  const Tensor<double, 3> added = d_x - d_x.constant(1);
  CHECK(heed::test::gradient_error(x, added, [&] { return heed::test::dot(heed::softmax(x), d_out); }) < 1e-8);
}

TEST_CASE("softmax has the same bits for any strides and threads") {
  const auto x = random_tensor<float, 2>({200, 63}, 1), d_out = random_tensor<float, 2>({200, 63}, 2);
  const auto want = heed::softmax(x);
  Tensor<float, 2> d_want(200, 63);
  d_want.setZero();
  heed::softmax_backward(kHere, want, d_out, d_want);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    Tensor<float, 2> turned(63, 200), out(63, 200), d_x(63, 200);
    for (Index r = 0; r < 200; ++r)
      for (Index c = 0; c < 63; ++c) turned(c, r) = x(r, c);
    out.setConstant(float(kNaN));
    d_x.setZero();
    const auto p = heed::view(out).permute({1, 0}), d = heed::view(d_x).permute({1, 0});
    heed::softmax(device, heed::view(turned).permute({1, 0}), p);
    heed::softmax_backward(device, p, d_out, d);
    bool same = true;
    for (Index r = 0; r < 200; ++r)
      for (Index c = 0; c < 63; ++c) same = same && p(r, c) == want(r, c) && d(r, c) == d_want(r, c);
    CHECK(same);
  }
}

TEST_CASE("softmax refuses shapes that do not fit") {
  Tensor<float, 2> out(5, 2);
  CHECK_THROWS_WITH(heed::softmax(kHere, Tensor<float, 2>(2, 5), out),
                    "softmax: out must have shape (2, 5), got (5, 2)");
  CHECK(heed::softmax(Tensor<float, 2>(0, 5)).size() == 0);
}
