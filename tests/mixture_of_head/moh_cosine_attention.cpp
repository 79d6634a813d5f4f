// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/moh_cosine_attention.hpp"

#include "catch.hpp"
#include "support/self_attention.hpp"

using namespace heed;
using namespace heed::test;

namespace {

void to_unit(Tensor<double, 4>& x) {
  for (Index row = 0; row < x.size() / x.dimension(3); ++row) {
    double* at = x.data() + row * x.dimension(3);
    double square = 0;
    for (Index d = 0; d < x.dimension(3); ++d) square += at[d] * at[d];
    for (Index d = 0; d < x.dimension(3); ++d) at[d] /= std::sqrt(square);
  }
}

}  // namespace

TEST_CASE("moh_cosine_attention: scaled cosines and a bias by coordinates, times the gates") {
  for (const auto& [h, w] : {std::pair<Index, Index>{1, 1}, {1, 3}, {3, 5}}) {
    const Index tokens = h * w, heads = 3;
    MohCosineAttention<float> attend{
        {.num_heads = heads, .input_resolution = {h, w}, .shared_heads = 1, .routed_heads = 1}};
    attend.qkv = random_linear<float>(36, 12, true, 1);
    attend.out = random_linear<float>(12, 12, false, 2);
    attend.query_embedding = random_tensor<float, 3>({heads, 1, 4}, 3);
    attend.temperature = random_tensor<float, 3>({heads, 1, 1}, 4);
    attend.cpb = {random_linear<float>(6, 2, true, 5), random_linear<float>(heads, 6, true, 6)};
    attend.gates.router = random_tensor<float, 2>({2, 12}, 7);
    attend.gates.balance = random_tensor<float, 2>({2, 12}, 8);
    const auto table = random_tensor<float, 2>({7, 2}, 9);
    Tensor<std::int32_t, 1> index(tokens * tokens);
    for (Index i = 0; i < index.size(); ++i) index(i) = std::int32_t(i * 5 % 7);
    const auto x = random_tensor<float, 3>({2, tokens, 12}, 10);

    const auto bias = [&](Index head, Index entry) {
      double sum = attend.cpb.fc2.bias(head);
      for (Index f = 0; f < 6; ++f) {
        double inner = attend.cpb.fc1.bias(f);
        for (Index c = 0; c < 2; ++c) inner += double(attend.cpb.fc1.weight(f, c)) * double(table(entry, c));
        sum += double(attend.cpb.fc2.weight(head, f)) * std::max(0.0, inner);
      }
      return sum;
    };
    const auto qkv = apply(attend.qkv, x);
    const auto part = [&](Index i) {
      return heads_of(
          Tensor<double, 3>(qkv.slice(Eigen::array<Index, 3>{0, 0, i * 12}, Eigen::array<Index, 3>{2, tokens, 12})),
          heads);
    };
    auto q = part(0), k = part(1);
    to_unit(q);
    to_unit(k);
    for (Index b = 0; b < 2; ++b)
      for (Index g = 0; g < heads; ++g)
        for (Index n = 0; n < tokens; ++n)
          for (Index d = 0; d < 4; ++d)
            q(b, g, n, d) = (q(b, g, n, d) + double(attend.query_embedding(g, 0, d))) *
                            std::log1p(std::exp(double(attend.temperature(g, 0, 0)))) * std::log(double(tokens));
    NaiveAttention naive{.scale = 1};
    naive.score = [&](double s, Index, Index g, Index i, Index j) { return s + bias(g, index(i * tokens + j)); };
    const auto mixed = naive(q, k, part(2)).out;
    const auto gates = attend.gates("test", {heads, 1, 1}, DeviceRef(), x);
    Tensor<double, 3> gated(2, tokens, 12);
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < tokens; ++n)
        for (Index c = 0; c < 12; ++c) gated(b, n, c) = double(gates.gates(b, n, c / 4)) * mixed(b, c / 4, n, c % 4);
    const auto [out, loss] = attend(x, index, table);
    CHECK(error_of(out, apply(attend.out, gated)) < 1e-5);
    CHECK(loss(0) == gates.load_balance_loss(0));
    CHECK(attend(Tensor<float, 3>(0, tokens, 12), index, table).out.size() == 0);

    auto wrong = attend;
    wrong.options.input_resolution = {h, w + 1};
    CHECK_THROWS_WITH(wrong(x, index, table), contains("moh_cosine_attention: input_resolution ("));
    CHECK_THROWS_WITH(attend(x, index, random_tensor<float, 2>({7, 3}, 9)),
                      "moh_cosine_attention: relative_coords_table must have shape (T, 2), got (7, 3)");
    CHECK_THROWS_WITH(attend(x, Tensor<std::int32_t, 1>(2), table),
                      contains("moh_cosine_attention: relative_pos_index must have shape ("));
    index(0) = 7;
    CHECK_THROWS_AS(attend(x, index, table), Error);
  }
}
