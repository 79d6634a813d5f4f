// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/multi_head_latent_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/rotary.hpp"
#include "support/cross.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::LatentForm;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;

namespace {

heed::MultiHeadLatentAttention<double> attention(Index c, Index heads, Index q_rank, LatentForm form) {
  heed::MultiHeadLatentAttention<double> attend{{.form = form,
                                                 .num_heads = heads,
                                                 .nope_dim = 3,
                                                 .rope_dim = 4,
                                                 .value_dim = 5,
                                                 .q_rank = q_rank,
                                                 .kv_rank = 6,
                                                 .mscale = 1.2}};
  if (q_rank == 0) {
    attend.q = heed::test::fresh_linear(heads * 7, c, false);
  } else {
    attend.q_down = heed::test::fresh_linear(q_rank, c, false);
    attend.q_norm.weight = fresh<1>({q_rank});
    attend.q_up = heed::test::fresh_linear(heads * 7, q_rank, false);
  }
  attend.kv_down = heed::test::fresh_linear(10, c, false);
  attend.kv_norm.weight = fresh<1>({6});
  attend.kv_up = heed::test::fresh_linear(heads * 8, 6, false);
  attend.out = heed::test::fresh_linear(c, heads * 5, false);
  return attend;
}

}  // namespace

TEST_CASE("multi_head_latent_attention: both forms, at once, in parts and from a cache") {
  for (const Index tokens : {1, 3, 40})
    for (const Index q_rank : {0, 4}) {
      CAPTURE(tokens, q_rank);
      auto attend = attention(6, 2, q_rank, LatentForm::kAbsorbed);
      const auto x = fresh<3>({2, tokens, 6});
      const auto whole = attend(x);
      attend.options.form = LatentForm::kNaive;
      const auto naive = attend(x);
      CHECK(error_of(whole.out, naive.out) < 1e-13);
      CHECK(error_of(whole.latent, naive.latent) == 0);

      auto cache = attend.cache(2, tokens);
      for (Index done = 0; done < tokens; done += 2) {
        const Index count = std::min<Index>(2, tokens - done);
        const auto part = heed::contiguous(heed::view(x).slice(1, done, count));
        const auto want = heed::view(whole.out).slice(1, done, count);
        CHECK(error_of(attend.decode(part, cache), want) < 1e-13);
        const auto latent = heed::contiguous(heed::view(whole.latent).slice(1, 0, done));
        const auto rope_key = heed::contiguous(heed::view(whole.rope_key).slice(1, 0, done));
        const auto later = attend(part, latent, rope_key);
        CHECK(error_of(later.out, want) < 1e-13);
        CHECK(error_of(later.rope_key, heed::view(whole.rope_key).slice(1, done, count)) < 1e-15);
      }
      CHECK(cache.length == tokens);
    }
}

TEST_CASE("multi_head_latent_attention: what does not fit") {
  const auto attend = attention(6, 2, 0, LatentForm::kAbsorbed);
  const auto x = fresh<3>({2, 3, 6});
  auto cache = attend.cache(2, 4);
  attend.decode(x, cache);
  CHECK_THROWS_WITH(attend.decode(x, cache),
                    "multi_head_latent_attention: the cache has room for 4 tokens, too few for 3 and 3 more");
  CHECK_THROWS_AS(attend(x, fresh<3>({2, 1, 5}), fresh<3>({2, 1, 4})), heed::Error);
  CHECK_THROWS_AS(attend(fresh<3>({2, 3, 5})), heed::Error);
  CHECK(attend(Tensor<double, 3>(2, 0, 6)).out.size() == 0);
}

TEST_CASE("Gradients of multi_head_latent_attention, of the past among them") {
  for (const auto form : {LatentForm::kAbsorbed, LatentForm::kNaive}) {
    auto attend = attention(4, 2, form == LatentForm::kNaive ? 3 : 0, form);
    auto x = fresh<3>({2, 2, 4}), latent = fresh<3>({2, 3, 6}), rope_key = fresh<3>({2, 3, 4});
    heed::test::check_gradients(
        [&](auto&, const auto& v, const auto& l, const auto& r) {
          const auto result = attend(v, l, r);
          return std::make_tuple(result.out, result.latent, result.rope_key);
        },
        x, latent, rope_key, attend);
  }
}
