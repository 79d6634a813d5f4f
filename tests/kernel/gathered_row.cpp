// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/gathered_row.hpp"

#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::error_of;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

TEMPLATE_TEST_CASE("gathered_dots and gathered_mix: rows of a table anywhere", "", float, double) {
  using T = TestType;
  for (const Index width : {1, 3, 17, 63, 128})
    for (const Index inner : {1, 2})
      for (const Index count : {0, 1, 5, 17, 40}) {
        const auto memory = random_tensor<T, 2>({9, width * inner + 3}, 1);
        const kernel::TableRows<T> table{memory.data(), width * inner + 3, inner, width};
        std::vector<std::int32_t> which;
        for (Index s = 0; s < count; ++s) which.push_back(std::int32_t(s * 7 % 9));
        const auto x = random_tensor<T, 1>({width}, 2), weights = random_tensor<T, 1>({count}, 3);
        heed::Tensor<double, 1> dots(count), mix(width);
        dots.setZero();
        mix.setZero();
        for (Index s = 0; s < count; ++s)
          for (Index d = 0; d < width; ++d) {
            const double value = double(memory(which[std::size_t(s)], d * inner));
            dots(s) += double(x(d)) * value;
            mix(d) += double(weights(s)) * value;
          }
        heed::Tensor<T, 1> got(count + 1), mixed(width + 1);
        got.setConstant(T(kNaN));
        mixed.setConstant(T(kNaN));
        kernel::gathered_dots(x.data(), table, which.data(), count, got.data());
        kernel::gathered_mix(weights.data(), table, which.data(), count, mixed.data());
        const double near = std::same_as<T, float> ? 1e-5 : 1e-13;
        CHECK(error_of(heed::const_view(got).slice(0, 0, count), dots) < near);
        CHECK(error_of(heed::const_view(mixed).slice(0, 0, width), mix) < near);
        CHECK(std::isnan(got(count)));
        CHECK(std::isnan(mixed(width)));
      }
}

TEMPLATE_TEST_CASE("softmax_in_place: sums to 1, shifts do not matter, nothing visible gives 0", "", float, double) {
  using T = TestType;
  for (const Index count : {1, 3, 17, 63}) {
    auto x = random_tensor<T, 1>({count + 1}, 1), y = x;
    if (count > 2) x(1) = y(1) = -T(kInfinity);
    for (Index i = 0; i < count; ++i) y(i) += T(64);
    const T behind = x(count);
    kernel::softmax_in_place(x.data(), count);
    kernel::softmax_in_place(y.data(), count);
    double sum = 0;
    for (Index i = 0; i < count; ++i) {
      sum += double(x(i));
      CHECK(std::abs(x(i) - y(i)) < 1e-5);
    }
    CHECK(sum == Approx(1));
    CHECK((count <= 2 || x(1) == 0));
    CHECK(x(count) == behind);
    x.setConstant(-T(kInfinity));
    kernel::softmax_in_place(x.data(), count);
    for (Index i = 0; i < count; ++i) CHECK(x(i) == 0);
  }
}
