// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/attentional_projection.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

namespace {

heed::AttentionalProjection<double> projection(Index a, Index b, Index heads, bool causal) {
  heed::AttentionalProjection<double> p{{.num_heads = heads, .causal = causal}};
  const Index w = std::max(a, b);
  p.q = fresh_linear(w, a);
  p.k = fresh_linear(w, a, false);
  p.v = fresh_linear(w, a);
  p.out = fresh_linear(b, b);
  p.proj = fresh_linear(b, a);
  p.norm1 = fresh_norm(a);
  p.norm3 = fresh_norm(a);
  p.norm2 = fresh_norm(b);
  p.mlp_norm.weight = fresh<1>({b});
  p.mlp_norm.bias = fresh<1>({b});
  p.mlp.fc1 = fresh_linear(2 * b, b);
  p.mlp.fc2 = fresh_linear(2 * b, b);
  p.mlp.fc3 = fresh_linear(b, 2 * b);
  return p;
}

}  // namespace

TEST_CASE("attentional_projection narrows, keeps and widens the channels") {
  for (const auto& [a, b, heads] : {std::array<Index, 3>{12, 4, 3}, {12, 3, 2}, {12, 5, 1}, {6, 6, 2}, {4, 12, 3}}) {
    CAPTURE(a, b, heads);
    auto p = projection(a, b, heads, true);
    const auto x = fresh<3>({2, 5, a});
    const auto whole = p(x);
    REQUIRE(whole.dimension(2) == b);
    // Causal: a prefix of the tokens gives a prefix of the result.
    const Tensor<double, 3> first = x.slice(Eigen::array<Index, 3>{0, 0, 0}, Eigen::array<Index, 3>{2, 3, a});
    const Tensor<double, 3> want = whole.slice(Eigen::array<Index, 3>{0, 0, 0}, Eigen::array<Index, 3>{2, 3, b});
    CHECK(error_of(p(first), want) < 1e-13);
    p.options.causal = false;
    CHECK(error_of(p(x), whole) > 1e-6);
  }
  CHECK_THROWS_WITH(projection(12, 4, 5, false)(fresh<3>({1, 1, 12})),
                    "attentional_projection: num_heads = 5 must divide max(a, b) = 12");
}
