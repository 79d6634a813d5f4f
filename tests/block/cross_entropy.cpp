// SPDX-License-Identifier: Apache-2.0
#include "heed/block/cross_entropy.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/central_differences.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::kInfinity;
using heed::test::random_tensor;

namespace {

const Eigen::DefaultDevice kHere;

template <class T>
double reference(const Tensor<T, 2>& x, const Tensor<std::int32_t, 1>& targets, std::int32_t ignored) {
  double total = 0;
  Index counted = 0;
  for (Index r = 0; r < x.dimension(0); ++r) {
    if (targets(r) == ignored) continue;
    double most = -kInfinity, sum = 0;
    for (Index c = 0; c < x.dimension(1); ++c) most = std::max(most, double(x(r, c)));
    for (Index c = 0; c < x.dimension(1); ++c) sum += std::exp(double(x(r, c)) - most);
    total += most + std::log(sum) - double(x(r, targets(r)));
    ++counted;
  }
  return total / double(counted);
}

Tensor<std::int32_t, 1> some_targets(Index rows, Index classes) {
  Tensor<std::int32_t, 1> targets(rows);
  for (Index r = 0; r < rows; ++r) targets(r) = std::int32_t(7 * r % classes);
  return targets;
}

}  // namespace

TEMPLATE_TEST_CASE("cross_entropy follows its definition", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 2e-6 : 1e-13;
  for (const Index V : {1, 3, 17, 63, 2500}) {
    auto x = random_tensor<T, 2>({5, V}, 1, 4.0);
    x(1, V - 1) = T(200);  // a later piece with the larger maximum
    x(2, 0) = T(-300);
    const auto targets = some_targets(5, V);
    CAPTURE(V);
    const double want = reference(x, targets, -1);
    CHECK(std::abs(double(heed::cross_entropy(x, targets)(0)) - want) <= tolerance * (1 + want));
    auto some = targets;
    some(3) = -100;
    const double counted = reference(x, some, -100);
    CHECK(std::abs(double(heed::cross_entropy(x, some, {.ignore_index = -100})(0)) - counted) <=
          tolerance * (1 + counted));
  }
}

TEST_CASE("cross_entropy at the ends") {
  Tensor<float, 2> x(2, 5);
  x.setConstant(-float(kInfinity));
  x(0, 1) = x(1, 3) = 90;
  Tensor<std::int32_t, 1> targets(2);
  targets.setValues({1, 3});
  CHECK(heed::cross_entropy(x, targets)(0) == 0);
  targets.setValues({1, 2});
  CHECK(heed::cross_entropy(x, targets)(0) == float(kInfinity));
  x.setConstant(3e38f);
  CHECK(std::abs(heed::cross_entropy(x, targets)(0) - std::log(5.f)) < 1e-6f);
}

TEST_CASE("No row counted gives 0 and no gradient") {
  const Tensor<float, 2> x(2, 5);
  Tensor<std::int32_t, 1> targets(2);
  targets.setConstant(9);
  CHECK(heed::cross_entropy(x, targets, {.ignore_index = 9})(0) == 0);
  CHECK(heed::cross_entropy(Tensor<float, 2>(0, 5), Tensor<std::int32_t, 1>(0))(0) == 0);
  Tensor<float, 2> d(2, 5);
  d.setZero();
  Tensor<float, 1> one(1);
  one.setConstant(1);
  heed::cross_entropy_backward(kHere, x, targets, {.ignore_index = 9}, one, d);
  for (Index i = 0; i < 10; ++i) CHECK(d.data()[i] == 0);
}

TEST_CASE("The gradient of cross_entropy against central differences") {
  auto x = random_tensor<double, 3>({2, 4, 17}, 1);
  Tensor<std::int32_t, 2> targets(2, 4);
  targets.setValues({{0, 3, -1, 16}, {2, 2, 5, -1}});
  const heed::CrossEntropyOptions options{.ignore_index = -1};
  Tensor<double, 1> d_out(1);
  d_out.setConstant(1.5);
  Tensor<double, 3> d_x(2, 4, 17);
  d_x.setConstant(1);
  heed::cross_entropy_backward(kHere, x, targets, options, d_out, d_x);
  const Tensor<double, 3> added = d_x - d_x.constant(1);
  const auto loss = [&] { return 1.5 * heed::cross_entropy(x, targets, options)(0); };
  CHECK(heed::test::gradient_error(x, added, loss) < 1e-8);
}

TEST_CASE("cross_entropy has the same bits for any strides and threads") {
  const auto x = random_tensor<float, 2>({300, 63}, 1);
  const auto targets = some_targets(300, 63);
  const float want = heed::cross_entropy(x, targets)(0);
  Tensor<float, 1> one(1);
  one.setConstant(1);
  Tensor<float, 2> d_want(300, 63);
  d_want.setZero();
  heed::cross_entropy_backward(kHere, x, targets, {}, one, d_want);
  Tensor<float, 2> turned(63, 300), d(63, 300);
  for (Index r = 0; r < 300; ++r)
    for (Index c = 0; c < 63; ++c) turned(c, r) = x(r, c);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    const auto logits = heed::view(turned).permute({1, 0}), to = heed::view(d).permute({1, 0});
    CHECK(heed::cross_entropy(device, logits, targets)(0) == want);
    d.setZero();
    heed::cross_entropy_backward(device, logits, targets, {}, one, to);
    bool same = true;
    for (Index r = 0; r < 300; ++r)
      for (Index c = 0; c < 63; ++c) same = same && to(r, c) == d_want(r, c);
    CHECK(same);
  }
}

TEST_CASE("cross_entropy refuses targets outside of the classes and shapes that do not fit") {
  const Tensor<float, 2> x(2, 5);
  Tensor<std::int32_t, 1> targets(2), three(3);
  targets.setValues({0, 5});
  CHECK_THROWS_WITH(heed::cross_entropy(x, targets),
                    "cross_entropy: target 5 (number 1) is outside of the classes 0 .. 4");
  CHECK_THROWS_WITH(heed::cross_entropy(x, three),
                    "cross_entropy: targets must have the axes of logits but the last, (2, 5), got (3)");
}

TEST_CASE("cross_entropy into memory of the caller allocates nothing after the first call") {
  const auto x = random_tensor<float, 2>({40, 63}, 1);
  const auto targets = some_targets(40, 63);
  Tensor<float, 1> out(1);
  Tensor<float, 2> d(40, 63);
  d.setZero();
  const auto run = [&] {
    heed::cross_entropy(kHere, x, targets, {}, out);
    heed::cross_entropy_backward(kHere, x, targets, {}, out, d);
  };
  run();
  const std::size_t before = heed::test::allocation_count();
  run();
  CHECK(heed::test::allocation_count() == before);
}
