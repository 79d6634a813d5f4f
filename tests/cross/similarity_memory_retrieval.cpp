// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/similarity_memory_retrieval.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;

TEST_CASE("similarity_memory_retrieval: the most similar entries, by position or by score, the lower of equal ones") {
  auto key = fresh<2>({5, 3});
  for (Index c = 0; c < 3; ++c) key(3, c) = 2 * key(1, c);  // the same direction
  const auto value = fresh<2>({5, 4});
  Tensor<double, 2> query(1, 3);
  for (Index c = 0; c < 3; ++c) query(0, c) = 5 * key(1, c);
  heed::SimilarityMemoryRetrieval retrieve{{.top_k = 1}};
  const auto best = retrieve(query, key, value);
  CHECK(best.indices(0, 0) == 1);
  CHECK(best.similarity(0, 3) == Approx(1));
  double total = 0;
  for (Index m = 0; m < 5; ++m) total += best.probability(0, m);
  CHECK(total == Approx(1));
  CHECK(best.probability(0, 0) / best.probability(0, 2) ==
        Approx(std::exp(10 * (best.similarity(0, 0) - best.similarity(0, 2)))));

  retrieve.options.top_k = 9;
  const auto all = retrieve(query, key, value);
  REQUIRE(all.indices.dimension(1) == 5);
  for (Index m = 0; m < 5; ++m) {
    CHECK(all.indices(0, m) == m);
    for (Index c = 0; c < 4; ++c) CHECK(all.retrieved(0, m, c) == value(m, c));
  }
  retrieve.options.order = heed::MemoryOrder::kScore;
  const auto ranked = retrieve(query, key, value);
  for (Index m = 1; m < 5; ++m)
    CHECK(ranked.similarity(0, ranked.indices(0, m - 1)) >= ranked.similarity(0, ranked.indices(0, m)));
  CHECK(retrieve(Tensor<double, 2>(0, 3), key, value).retrieved.dimension(1) == 5);
  CHECK(retrieve(query, Tensor<double, 2>(0, 3), Tensor<double, 2>(0, 4)).retrieved.dimension(2) == 4);
  retrieve.options.top_k = 0;
  CHECK(retrieve(query, key, value).retrieved.dimension(1) == 0);
  retrieve.options.temperature = 0;
  CHECK_THROWS_WITH(retrieve(query, key, value), heed::test::contains("temperature"));
}
