// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/dual_scale_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

heed::DualScaleAttention<float> make(const heed::DualScaleAttention<float>::Options& options, Index layers) {
  heed::DualScaleAttention<float> encode(options, layers);
  unsigned seed = 50;
  for (auto& layer : encode.layer) {
    for (auto* part : {&layer.q, &layer.k, &layer.v, &layer.out})
      part->weight = random_tensor<float, 2>({4, 4}, ++seed);
    layer.fc1.weight = random_tensor<float, 2>({6, 4}, ++seed);
    layer.fc2.weight = random_tensor<float, 2>({4, 6}, ++seed);
  }
  return encode;
}

}  // namespace

TEST_CASE("dual_scale_attention: two scales are the encoder run twice") {
  const auto x = random_tensor<float, 3>({2, 17, 4}, 1);
  heed::DualScaleAttention<float>::Options options{
      .num_heads = 2, .local_context = 1, .global_context = 6, .eps = 1e-5};
  const auto encode = make(options, 2);
  const auto both = encode(x);
  REQUIRE(heed::const_view(both.attention).sizes == std::array<Index, 5>{2, 4, 2, 17, 17});

  auto alone = encode;
  alone.options.use_global = false;
  const auto local = alone(x);
  alone.options = options;
  alone.options.use_local = false;
  const auto global = alone(x);
  CHECK(error_of(both.out, heed::sigmoid(heed::add(local.out, global.out))) < 1e-6);
  const auto maps = heed::const_view(both.attention);
  CHECK(error_of(maps.slice(1, 0, 2), local.attention) < 1e-6);
  CHECK(error_of(maps.slice(1, 2, 2), global.attention) < 1e-6);
  for (Index i = 0; i < 17; ++i)
    for (Index j = 0; j < 17; ++j) {
      CHECK((maps(1, 1, 0, i, j) > 0) == (std::abs(i - j) <= 1));
      CHECK((maps(1, 3, 1, i, j) > 0) == (std::abs(i - j) <= 6));
    }

  // Neither scale is a band that holds all.
  alone.options.use_global = false;
  const auto neither = alone(x);
  alone.options.use_global = true;
  alone.options.global_context = 16;
  CHECK(error_of(neither.out, alone(x).out) < 1e-6);
}

TEST_CASE("dual_scale_attention: errors") {
  auto encode = make({.num_heads = 3}, 1);
  const auto x = random_tensor<float, 3>({1, 5, 4}, 1);
  CHECK_THROWS_WITH(encode(x), "dual_scale_attention: the channels of x, 4, must be a multiple of num_heads, 3");
  encode.options.num_heads = 2;
  encode.layer[0].v.weight.resize(3, 4);
  CHECK_THROWS_WITH(encode(x), "dual_scale_attention: layer0.v.weight must have shape (4, 4), got (3, 4)");
}
