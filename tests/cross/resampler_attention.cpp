// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/resampler_attention.hpp"

#include "heed/cross/pair_wise_cross_attention.hpp"
#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;

TEST_CASE("resampler_attention and pair_wise_cross_attention are attention over two sources") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 3}, {4, 0}}) {
    CAPTURE(n, m);
    heed::ResamplerAttention<double> resample{{.num_heads = 2}};
    resample.norm_x = fresh_norm(6);
    resample.norm_latents = fresh_norm(6);
    fill_projections(resample, 8, 6, 6, false);
    const auto x = fresh<3>({2, m, 6}), latents = fresh<3>({2, n, 6});
    const auto b = resample.norm_latents(latents);
    const auto all = heed::concat<1>(resample.norm_x(x), b);
    const auto o = mixed(apply(resample.q, b), apply(resample.k, all), apply(resample.v, all), 2);
    CHECK(error_of(resample(x, latents), apply(resample.out, o)) < 1e-12);

    heed::PairWiseCrossAttention<double> pair{{.num_heads = 2}};
    fill_projections(pair, 6, 6, 6);
    const auto both = heed::concat<1>(latents, x);
    const auto p = mixed(apply(pair.q, latents), apply(pair.k, both), apply(pair.v, both), 2);
    CHECK(error_of(pair(latents, x), apply(pair.out, p)) < 1e-12);
  }
  heed::PairWiseCrossAttention<double> pair{{.num_heads = 4}};
  fill_projections(pair, 6, 6, 6);
  CHECK_THROWS_AS(pair(fresh<3>({1, 2, 6}), fresh<3>({1, 2, 6})), heed::Error);
  pair.options.num_heads = 2;
  CHECK_THROWS_WITH(pair(fresh<3>({1, 2, 6}), fresh<3>({2, 2, 6})),
                    "linear_concat: both sources must have one batch size, got shapes (1, 2, 6) and (2, 2, 6)");
}
