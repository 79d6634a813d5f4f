// SPDX-License-Identifier: Apache-2.0
#include "heed/channel/semantic_guidance.hpp"

#include "heed/autodiff/conv_transpose_2d.hpp"
#include "heed/autodiff/max_pool.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::SemanticGuidance;
using heed::test::fill;
using heed::test::random_batch_norm;
using heed::test::random_tensor;

namespace {

SemanticGuidance<double>::Encoder encoder(Index in, Index out) {
  return {{fill<4>({out, in, 3, 3}), fill<1>({out})},
          {fill<4>({out, out, 3, 3}), fill<1>({out})},
          random_batch_norm(out),
          random_batch_norm(out)};
}
SemanticGuidance<double>::Decoder decoder(Index in, Index out) {
  return {encoder(in, out), {fill<4>({out, out, 2, 2}), fill<1>({out})}};
}

}  // namespace

TEST_CASE("semantic_guidance: sizes of odd maps, gradients, maps that are too small") {
  SemanticGuidance<double> op{encoder(1, 2), encoder(2, 3), decoder(3, 2), decoder(2, 1)};
  const auto odd = op(random_tensor<double, 4>({2, 1, 7, 4}, 1));
  CHECK(heed::const_view(odd.out).sizes == std::array<Index, 4>{2, 1, 6, 4});
  CHECK(odd.code.size() == 2 * 3 * 1 * 1);
  auto x = random_tensor<double, 4>({1, 1, 6, 5}, 2);
  heed::test::check_gradients(
      [&](auto&, const auto& v) {
        const auto y = op(v);
        return std::make_tuple(y.out, y.code);
      },
      x, op);
  CHECK_THROWS_WITH(op(random_tensor<double, 4>({1, 1, 3, 8}, 1)),
                    "semantic_guidance: x must have 4 rows and columns or more, got shape (1, 1, 3, 8)");
}
