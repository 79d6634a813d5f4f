// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/global_local_cross_attention.hpp"

#include <numeric>

#include "support/cross.hpp"
#include "support/threads.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("global_local_cross_attention: the class token's favourites ask the whole image") {
  for (const auto& [n, k, layers] : {std::array<Index, 3>{2, 1, 1}, {7, 3, 2}, {17, 16, 3}})
    for (const bool cls : {false, true}) {
      CAPTURE(n, k, layers, cls);
      heed::GlobalLocalCrossAttention<double> attend{
          {.num_heads = 2, .top_k = k, .include_cls = cls, .residual_weight = 0.3}};
      fill_projections(attend, 6, 6, 6);
      const auto x = fresh<3>({2, n, 6});
      Tensor<double, 5> maps = fresh<5>({layers, 2, 3, n, n});
      maps = maps.abs();
      const auto got = attend(x, maps);
      check_threads([&](const heed::DeviceRef& device) { return attend(device, x, maps).out; });
      REQUIRE(got.indices.dimension(1) == k + cls);
      for (Index b = 0; b < 2; ++b) {
        // The whole product, from the last layer down.
        std::vector<double> row(std::size_t(n), 0.0);
        row[0] = 1;
        for (Index l = layers - 1; l >= 0; --l) {
          std::vector<double> next(std::size_t(n), 0.0);
          for (Index i = 0; i < n; ++i)
            for (Index j = 0; j < n; ++j) {
              double mean = 0;
              for (Index h = 0; h < 3; ++h) mean += maps(l, b, h, i, j) / 3;
              next[std::size_t(j)] += row[std::size_t(i)] * (0.7 * mean + (i == j ? 0.3 : 0));
            }
          row = next;
        }
        std::vector<Index> order(std::size_t(n) - 1);
        std::iota(order.begin(), order.end(), Index(1));
        std::stable_sort(order.begin(), order.end(),
                         [&](Index a, Index c) { return row[std::size_t(a)] > row[std::size_t(c)]; });
        if (cls) CHECK(got.indices(b, 0) == 0);
        for (Index r = 0; r < k; ++r) CHECK(got.indices(b, r + cls) == order[std::size_t(r)]);
      }
      Tensor<double, 3> chosen(2, k + cls, 6);
      for (Index b = 0; b < 2; ++b)
        for (Index r = 0; r < k + cls; ++r)
          for (Index c = 0; c < 6; ++c) chosen(b, r, c) = x(b, got.indices(b, r), c);
      const auto o = mixed(apply(attend.q, chosen), apply(attend.k, x), apply(attend.v, x), 2);
      CHECK(error_of(got.out, apply(attend.out, o)) < 1e-12);

      attend.options.top_k = n;
      CHECK_THROWS_AS(attend(x, maps), heed::Error);
      attend.options.top_k = 1;
      CHECK_THROWS_AS(attend(x, Tensor<double, 5>(0, 2, 3, n, n)), heed::Error);
    }
}
