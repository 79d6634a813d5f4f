// SPDX-License-Identifier: Apache-2.0
#include "heed/block/functions.hpp"

#include "heed/autodiff/activation.hpp"
#include "support/finite_differences.hpp"

using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of functions of single elements") {
  auto x = random_tensor<double, 2>({3, 17}, 1);
  for (heed::Index i = 0; i < x.size(); ++i) x.data()[i] = 0.1 + std::abs(x.data()[i]);
  check_gradients(
      [](auto&, const auto& v) {
        return std::make_tuple(heed::activate(heed::Log(), v), heed::activate(heed::InverseSqrt{0.25}, v),
                               heed::activate(heed::AtLeast{0.5}, v), heed::activate(heed::ZeroWhere{2.}, v));
      },
      x);
  x(0, 0) = 2;
  CHECK(heed::activate(heed::ZeroWhere{2.}, x)(0, 0) == 0);
  CHECK(heed::activate(heed::Differs{2.}, x)(0, 0) == 0);
  CHECK(heed::activate(heed::Differs{2.}, x)(0, 1) == 1);
  CHECK(heed::activate(heed::AtLeast{2.5}, x)(0, 0) == 2.5);
}
