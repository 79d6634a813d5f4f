// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/head_routing.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("head_routing keeps as many heads of a token, or tokens of a head, as it says") {
  const auto x = random_tensor<float, 3>({2, 9, 6}, 1);
  HeadRouting<float> route{{.choice = HeadChoice::kToken, .top_k = 2}};
  route.router = random_tensor<float, 2>({4, 6}, 2);
  for (const auto score : {HeadScore::kSoftmax, HeadScore::kSigmoid}) {
    route.options = {.choice = HeadChoice::kToken, .score = score, .top_k = 2};
    const auto gates = route(x);
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < 9; ++n) {
        Index used = 0;
        float sum = 0;
        for (Index h = 0; h < 4; ++h) {
          used += gates(b, n, h) != 0;
          sum += gates(b, n, h);
        }
        CHECK(used == 2);
        CHECK(std::abs(sum - 1) < 1e-6f);
      }
    route.options = {.choice = HeadChoice::kExpert, .score = score, .capacity = 3};
    const auto chosen = route(x);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 4; ++h) {
        Index used = 0;
        for (Index n = 0; n < 9; ++n) used += chosen(b, n, h) != 0;
        CHECK(used == 3);
      }
    CHECK(error_of(const_view(route(const_view(x).select(0, 1))), const_view(chosen).select(0, 1)) == 0);
  }
  // Ties go to the lower head, and more than there are is all.
  route.router.setZero();
  route.options = {.top_k = 1, .renormalize = false};
  const auto first = route(x);
  CHECK(first(1, 3, 0) == 0.25f);
  CHECK(first(1, 3, 1) == 0);
  route.options.top_k = 100;
  CHECK(route(x)(0, 0, 3) == 0.25f);
  route.router = random_tensor<float, 2>({4, 5}, 2);
  CHECK_THROWS_AS(route(x), Error);
}
