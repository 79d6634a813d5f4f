// SPDX-License-Identifier: Apache-2.0
#include "heed/block/embedding.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/central_differences.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::random_tensor;

namespace {

const Eigen::DefaultDevice kHere;

template <int Rank>
Tensor<std::int32_t, Rank> random_indices(const std::array<Index, Rank>& sizes, std::int32_t entries, unsigned seed) {
  Tensor<std::int32_t, Rank> indices(sizes);
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::int32_t> any(0, entries - 1);
  for (Index i = 0; i < indices.size(); ++i) indices.data()[i] = any(engine);
  return indices;
}

}  // namespace

TEMPLATE_TEST_CASE("embedding takes rows of any storage", "", float, double, heed::bfloat16) {
  const auto table = random_tensor<TestType, 2>({7, 17}, 1);
  const auto indices = random_indices<2>({3, 5}, 7, 2);
  const auto out = heed::embedding(table, indices);
  REQUIRE(out.dimension(2) == 17);
  for (Index b = 0; b < 3; ++b)
    for (Index n = 0; n < 5; ++n)
      for (Index c = 0; c < 17; ++c) CHECK(out(b, n, c) == table(indices(b, n), c));
  CHECK(heed::embedding(table, Tensor<std::int32_t, 1>(0)).size() == 0);
}

TEST_CASE("embedding of any strides") {
  const auto table = random_tensor<float, 2>({17, 7}, 1);
  const auto indices = random_indices<2>({5, 3}, 7, 2);
  const auto columns = heed::view(table).permute({1, 0});
  const auto turned = heed::view(indices).permute({1, 0});
  const auto out = heed::embedding(columns, turned);
  for (Index b = 0; b < 3; ++b)
    for (Index n = 0; n < 5; ++n)
      for (Index c = 0; c < 17; ++c) CHECK(out(b, n, c) == table(c, indices(n, b)));
}

TEST_CASE("The gradient of embedding against central differences") {
  auto table = random_tensor<double, 2>({9, 5}, 1);
  const auto indices = random_indices<2>({4, 6}, 8, 2);  // the last row of the table is not used
  const auto d_out = random_tensor<double, 3>({4, 6, 5}, 3);
  Tensor<double, 2> d_table(9, 5);
  d_table.setConstant(1);
  heed::embedding_backward(kHere, indices, d_out, d_table);
  const Tensor<double, 2> added = d_table - d_table.constant(1);
  CHECK(heed::test::gradient_error(table, added,
                                   [&] { return heed::test::dot(heed::embedding(table, indices), d_out); }) < 1e-8);
  heed::embedding_backward(kHere, indices, d_out, View<double, 2>());
}

TEST_CASE("embedding and its gradient have the same bits on any number of threads") {
  const auto table = random_tensor<float, 2>({300, 33}, 1);
  const auto indices = random_indices<1>({5000}, 300, 2);
  const auto d_out = random_tensor<float, 2>({5000, 33}, 3);
  Tensor<float, 2> want(300, 33);
  want.setZero();
  for (Index i = 0; i < 5000; ++i)
    for (Index c = 0; c < 33; ++c) want(indices(i), c) += d_out(i, c);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    Tensor<float, 2> d_table(300, 33);
    d_table.setZero();
    heed::embedding_backward(device, indices, d_out, d_table);
    CHECK(std::memcmp(d_table.data(), want.data(), sizeof(float) * 300 * 33) == 0);
    const auto out = heed::embedding(device, table, indices);
    CHECK(std::memcmp(&out(4999, 0), &table(indices(4999), 0), sizeof(float) * 33) == 0);
  }
}

TEST_CASE("embedding refuses indices outside of the table and shapes that do not fit") {
  const heed::Embedding<float> layer{random_tensor<float, 2>({4, 3}, 1)};
  Tensor<std::int32_t, 1> indices(2);
  indices.setValues({3, 4});
  CHECK_THROWS_WITH(layer(indices), "embedding: index 4 (number 1) is outside of the table's 0 .. 3");
  indices.setValues({-1, 0});
  CHECK_THROWS_WITH(layer(kHere, indices), "embedding: index -1 (number 0) is outside of the table's 0 .. 3");
  Tensor<float, 2> out(2, 4);
  CHECK_THROWS_WITH(heed::embedding(kHere, layer.weight, indices, out),
                    "embedding: out must have shape (2, 3), got (2, 4)");
  CHECK(heed::count_parameters(layer) == 12);
}

TEST_CASE("embedding into memory of the caller allocates nothing after the first call") {
  const auto table = random_tensor<float, 2>({7, 17}, 1);
  const auto indices = random_indices<2>({3, 5}, 7, 2);
  Tensor<float, 3> out(3, 5, 17);
  Tensor<float, 2> d_table(7, 17);
  d_table.setZero();
  const auto run = [&] {
    heed::embedding(kHere, table, indices, out);
    heed::embedding_backward(kHere, indices, out, d_table);
  };
  run();
  const std::size_t before = heed::test::allocation_count();
  run();
  CHECK(heed::test::allocation_count() == before);
}
