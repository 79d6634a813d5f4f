// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/latent_cross_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("latent_cross_attention is its definition, hidden keys without influence") {
  for (const Index m : {1, 3, 17}) {
    heed::LatentCrossAttention<double> read{{.num_heads = 2}};
    read.norm = fresh_norm(5);
    read.norm_context = fresh_norm(4);
    fill_projections(read, 6, 5, 4);
    const auto latents = fresh<3>({3, 2, 5});
    auto x = fresh<3>({3, m, 4});
    auto mask = random_mask<2>({3, m}, unsigned(m), 0.6);
    for (Index j = 0; j < m; ++j) mask(2, j) = 0;
    NaiveAttention naive;
    naive.visible = [&](Index b, Index, Index, Index j) { return mask(b, j) != 0; };
    const auto want = [&](const NaiveAttention& dense) {
      const Tensor<double, 3> o =
          apply(read.out, mixed(apply(read.q, read.norm(latents)), apply(read.k, read.norm_context(x)),
                                apply(read.v, read.norm_context(x)), 2, dense));
      return Tensor<double, 3>(latents + o);
    };
    CHECK(error_of(read(latents, x), want({})) < 1e-12);
    const auto masked = want(naive);
    CHECK(error_of(read(latents, x, {.mask = heed::const_view(mask)}), masked) < 1e-12);
    for (Index b = 0; b < 3; ++b)
      for (Index j = 0; j < m; ++j)
        if (mask(b, j) == 0) x(b, j, 1) = kNaN;
    const auto got = read(latents, x, {.mask = heed::const_view(mask)});
    CHECK(error_of(got, masked) < 1e-12);
    CHECK(std::abs(got(2, 1, 3) - latents(2, 1, 3) - read.out.bias(3)) < 1e-14);
    const Tensor<std::uint8_t, 2> other(3, m + 1);
    CHECK_THROWS_AS(read(latents, x, {.mask = heed::const_view(other)}), heed::Error);
  }
}
