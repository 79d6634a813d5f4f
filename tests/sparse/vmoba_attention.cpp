// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/vmoba_attention.hpp"

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

namespace {

const auto by_head = [](const auto& x) { return view(x).permute({0, 2, 1, 3}); };

}  // namespace

TEST_CASE("vmoba_attention of all blocks is full attention, in any partition") {
  const auto q = random_tensor<float, 4>({2, 48, 2, 5}, 1), k = random_tensor<float, 4>({2, 48, 2, 5}, 2),
             v = random_tensor<float, 4>({2, 48, 2, 3}, 3);
  const auto full = softmax_attention()(by_head(q), by_head(k), by_head(v));
  for (const auto& size : {std::vector<double>{1}, {0.4}, {2, 2}, {1, 2, 4}})
    for (const auto scope :
         {BlockScope::kQueryHead, BlockScope::kHeadGlobal, BlockScope::kOverall, BlockScope::kBlock}) {
      VmobaAttention attend{{.patch_resolution = {3, 4, 4}, .block_size = size, .select_scope = scope, .threshold = 2}};
      CHECK(error_of(attend(q, k, v), by_head(full)) < 2e-6);
    }
}

TEST_CASE("vmoba_attention with top_k = 1 sees its own tile, and as many blocks as asked for otherwise") {
  const auto q = random_tensor<float, 4>({1, 48, 2, 5}, 1), k = random_tensor<float, 4>({1, 48, 2, 5}, 2),
             v = random_tensor<float, 4>({1, 48, 2, 3}, 3);
  const auto tile = [](Index t) { return std::pair(t % 16 / 4 / 2, t % 4 / 2); };
  NaiveAttention naive;
  naive.visible = [&](Index, Index, Index i, Index j) { return tile(i) == tile(j); };
  const auto want = naive(Tensor<float, 4>(q.shuffle(Eigen::array<int, 4>{0, 2, 1, 3})),
                          Tensor<float, 4>(k.shuffle(Eigen::array<int, 4>{0, 2, 1, 3})),
                          Tensor<float, 4>(v.shuffle(Eigen::array<int, 4>{0, 2, 1, 3})));
  for (const auto scope : {BlockScope::kQueryHead, BlockScope::kHeadGlobal, BlockScope::kOverall}) {
    const VmobaAttention attend{{.patch_resolution = {3, 4, 4},
                                 .block_size = {2, 2},
                                 .select_mode = BlockSelect::kTopK,
                                 .select_scope = scope,
                                 .top_k = 1}};
    CHECK(error_of(attend(q, k, v), by_head(want.out)) < 2e-6);
  }
  CHECK_THROWS_AS((VmobaAttention{{.patch_resolution = {3, 4, 4}, .block_size = {3, 2}}}(q, k, v)), Error);
  CHECK_THROWS_AS((VmobaAttention{{.patch_resolution = {3, 4, 5}, .block_size = {2, 2}}}(q, k, v)), Error);

  // Of each pool as many as it says, own blocks first: 12 blocks of 4 tokens, 48 queries, 2 heads.
  const auto scores = random_tensor<float, 4>({1, 2, 48, 12}, 5);
  Tensor<std::int32_t, 1> place(48);
  for (Index i = 0; i < 48; ++i) place(i) = std::int32_t(47 - i);
  for (const auto scope : {BlockScope::kQueryHead, BlockScope::kHeadGlobal, BlockScope::kOverall}) {
    const auto mask =
        choose_from_pools(DeviceRef(), const_view(scores), const_view(place), 4, {BlockSelect::kTopK, scope, 3, 0});
    Index set = 0;
    for (Index i = 0; i < mask.size(); ++i) set += mask.data()[i];
    CHECK(set == 3 * 48 * 2);
    for (Index i = 0; i < 48; ++i) CHECK(mask(0, 1, i, (47 - i) / 4) == 1);
  }
}
