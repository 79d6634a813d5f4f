// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/ela.hpp"

#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::random_tensor;

TEST_CASE("ela gates rows and columns by convolved strips") {
  using Ela = heed::Ela<double>;
  const auto strip = [](Index inner) { return Ela::Strip{fill<3>({4, inner, 3}), fill<1>({4}), fill<1>({4})}; };
  auto x = random_tensor<double, 4>({2, 4, 3, 5}, 1);
  for (const Index inner : {1, 2, 4}) {
    Ela shared{{.num_groups = 2}, strip(inner)};
    check_gradients([&](auto&, const auto& v) { return shared(v); }, x, shared);
    Ela apart{{.num_groups = 2}, {}, shared.shared, shared.shared};
    CHECK(error_of(apart(x), shared(x)) == 0);
    apart.columns = strip(inner);
    check_gradients([&](auto&, const auto& v) { return apart(v); }, x, apart);
  }
  // A strip of length 1 in a group of one channel normalises to 0.
  const Ela alone{{.num_groups = 4}, strip(1)};
  const auto one = random_tensor<double, 4>({1, 4, 1, 1}, 1);
  const Tensor<double, 4> y = alone(one);
  const double g = 1 / (1 + std::exp(-alone.shared.bias(2)));
  CHECK(y(0, 2, 0, 0) == Approx(one(0, 2, 0, 0) * g * g));
  CHECK_THROWS_AS(Ela({{.num_groups = 3}, strip(1)})(x), heed::Error);
}
