// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/triangle_product.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

TEST_CASE("add_triangle: only the triangle counts, whatever is beyond it") {
  for (const Index n : {0, 1, 3, 15, 16, 17, 63})
    for (const bool upper : {false, true}) {
      auto a = random_tensor<float, 2>({n, n}, 1);
      const auto x = random_tensor<float, 2>({n, 5}, 2), start = random_tensor<float, 2>({n, 5}, 3);
      Tensor<double, 2> want(n, 5);
      for (Index i = 0; i < n; ++i)
        for (Index c = 0; c < 5; ++c) {
          want(i, c) = double(start(i, c));
          for (Index j = upper ? i : 0; j < (upper ? n : i + 1); ++j) want(i, c) += double(a(i, j)) * double(x(j, c));
        }
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
          if (upper ? j < i : j > i) a(i, j) = float(kNaN);
      auto sum = start;
      const auto add = [&](const View<const float, 2>& rows, const View<float, 2>& to) {
        if (upper)
          kernel::add_triangle<true, float>(DeviceRef(), heed::const_view(a), rows, to);
        else
          kernel::add_triangle<false, float>(DeviceRef(), heed::const_view(a), rows, to);
      };
      add(heed::const_view(x), heed::view(sum));
      CHECK(error_of(sum, want) < 1e-6);

      // NaN of one row stays in the rows that meet it.
      if (n < 3) continue;
      auto poisoned = x;
      poisoned.chip<0>(n / 2).setConstant(float(kNaN));
      sum = start;
      add(heed::const_view(poisoned), heed::view(sum));
      for (Index i = 0; i < n; ++i) CHECK(std::isnan(sum(i, 2)) == (upper ? i <= n / 2 : i >= n / 2));

      // Columns apart from each other.
      Tensor<float, 2> turned = x.shuffle(Eigen::array<int, 2>{1, 0});
      Tensor<float, 2> to = start.shuffle(Eigen::array<int, 2>{1, 0});
      add(heed::const_view(turned).permute({1, 0}), heed::view(to).permute({1, 0}));
      CHECK(error_of(heed::const_view(to).permute({1, 0}), want) < 1e-6);
    }
}
