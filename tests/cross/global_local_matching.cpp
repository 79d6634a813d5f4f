// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/global_local_matching.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("global_local_matching scores each pair by itself") {
  heed::GlobalLocalMatching<double> match;
  match.q = fresh_linear(8, 6);
  match.k = fresh_linear(8, 6);
  match.v = fresh_linear(8, 6);
  match.cls = fresh_linear(8, 6);
  match.norm = fresh_norm(8);
  const auto entity_cls = fresh<2>({3, 6}), mention_cls = fresh<2>({2, 6});
  const auto entity_tokens = fresh<3>({3, 5, 6}), mention_tokens = fresh<3>({2, 4, 6});
  const auto all = match(entity_cls, entity_tokens, mention_cls, mention_tokens);
  for (Index m = 0; m < 2; ++m)
    for (Index e = 0; e < 3; ++e) {
      const auto row = [](const auto& x, Index i) {
        auto start = decltype(x.dimensions()){};
        auto size = x.dimensions();
        start[0] = i;
        size[0] = 1;
        return std::decay_t<decltype(x)>(x.slice(start, size));
      };
      const auto one = match(row(entity_cls, e), row(entity_tokens, e), row(mention_cls, m), row(mention_tokens, m));
      CHECK(one(0, 0) == Approx(all(m, e)));
    }
  CHECK_THROWS_WITH(match(entity_cls, entity_tokens, mention_cls, fresh<3>({3, 4, 6})),
                    heed::test::contains("mention_tokens"));
}
