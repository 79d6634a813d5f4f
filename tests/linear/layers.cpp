// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "heed/linear/multi_scale_retention.hpp"
#include "heed/linear/tnl_attention.hpp"
#include "heed/linear/transnormer_attention.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("multi_scale_retention: the divisions of rows leave what the norm leaves; later tokens are not seen") {
  heed::MultiScaleRetention<float> retain{{.num_heads = 2}};
  unsigned seed = 1;
  for (auto* layer : {&retain.q, &retain.k, &retain.v, &retain.gate})
    layer->weight = random_tensor<float, 2>({layer == &retain.v || layer == &retain.gate ? 12 : 8, 8}, ++seed);
  retain.out.weight = random_tensor<float, 2>({8, 12}, ++seed);
  for (const Index tokens : {1, 3, 17, 150}) {
    const auto x = random_tensor<float, 3>({2, tokens, 8}, 1);
    auto fast = retain;
    fast.options.divide_rows = false;
    const auto y = retain(x);
    CHECK(error_of(y, fast(x)) < 1e-4);
    auto longer = random_tensor<float, 3>({2, tokens + 2, 8}, 2);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < tokens * 8; ++i) longer(b, i / 8, i % 8) = x(b, i / 8, i % 8);
    CHECK(error_of(heed::const_view(retain(longer)).slice(1, 0, tokens), y) < 1e-4);
  }
  retain.options.num_heads = 8;
  CHECK_THROWS_WITH(retain(random_tensor<float, 3>({1, 3, 8}, 1)),
                    "multi_scale_retention: C / num_heads must be an even number, got C = 8 and num_heads = 8");
}

TEST_CASE("decayed_score_sums: by tiles as by pairs") {
  for (const Index tokens : {1, 17, 200}) {
    const auto q = random_tensor<float, 4>({2, 2, tokens, 5}, 1), k = random_tensor<float, 4>({2, 2, tokens, 5}, 2);
    Tensor<float, 4> decay(1, 2, 1, 1);
    decay(0, 0, 0, 0) = -0.01f;
    decay(0, 1, 0, 0) = -3;
    const auto got = heed::decayed_score_sums(Eigen::DefaultDevice(), q, k, decay);
    Tensor<double, 4> want(2, 2, tokens, 1);
    want.setZero();
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < tokens; ++i)
          for (Index j = 0; j <= i; ++j) {
            double dot = 0;
            for (Index d = 0; d < 5; ++d) dot += q(b, h, i, d) * k(b, h, j, d);
            want(b, h, i, 0) += std::abs(dot) * std::exp(double(decay(0, h, 0, 0)) * double(i - j));
          }
    CHECK(error_of(got, want) < 1e-5);
  }
}

TEST_CASE("transnormer_attention: decoding goes on where the prompt ended; a masked token writes no value") {
  for (const bool phases : {false, true}) {
    heed::TransnormerAttention<float> mix{{.num_heads = 2}};
    mix.qkvu.weight = random_tensor<float, 2>({4 * 6, 8}, 1);
    mix.qkvu.bias = random_tensor<float, 1>({4 * 6}, 2);
    mix.out.weight = random_tensor<float, 2>({8, 6}, 3);
    mix.slope = heed::lightning_slopes<float>(2, 0, 4);
    if (phases) mix.theta = random_tensor<float, 2>({2, 3}, 4);
    const auto x = random_tensor<float, 3>({2, 13, 8}, 5);
    const auto whole = mix(x);
    CHECK(whole.state.dimension(2) == (phases ? 6 : 3));
    const auto prompt = mix(heed::const_view(x).slice(1, 0, 12));
    const auto token = mix(heed::const_view(x).slice(1, 12, 1), {.position = 12}, prompt.state);
    CHECK(error_of(token.out, heed::const_view(whole.out).slice(1, 12, 1)) < 1e-5);
    CHECK(error_of(token.state, whole.state) < 1e-5);

    Tensor<std::uint8_t, 2> mask(2, 13);
    mask.setConstant(1);
    mask.chip(3, 1).setZero();
    auto other = x;
    const auto masked = mix(x, {.key_mask = heed::const_view(mask)});
    for (Index c = 0; c < 8; ++c) other(0, 3, c) = 7;
    const auto changed = mix(other, {.key_mask = heed::const_view(mask)});
    CHECK(error_of(heed::const_view(masked.out).slice(1, 4, 9), heed::const_view(changed.out).slice(1, 4, 9)) == 0);
  }
}

TEST_CASE("tnl_attention: later tokens are not seen; the same bits on any threads; errors") {
  heed::TnlAttention<float> mix{{.num_heads = 2}};
  unsigned seed = 1;
  for (auto* layer : {&mix.q, &mix.k, &mix.v, &mix.out}) layer->weight = random_tensor<float, 2>({6, 6}, ++seed);
  mix.gate1.weight = random_tensor<float, 2>({3, 6}, ++seed);
  mix.gate2.weight = random_tensor<float, 2>({6, 3}, ++seed);
  mix.norm.weight = random_tensor<float, 1>({6}, ++seed);
  mix.norm.bias = random_tensor<float, 1>({6}, ++seed);
  mix.slope = heed::lightning_slopes<float>(2, 0, 4);
  auto x = random_tensor<float, 3>({2, 80, 6}, 1);
  const auto y = mix(x);
  Eigen::ThreadPool pool(3);
  const auto threaded = mix(Eigen::ThreadPoolDevice(&pool, 3), x);
  CHECK(error_of(threaded, y) == 0);
  x(0, 70, 0) = float(heed::test::kNaN);
  CHECK(error_of(heed::const_view(mix(x)).slice(1, 0, 70), heed::const_view(y).slice(1, 0, 70)) == 0);
  mix.slope = heed::lightning_slopes<float>(3, 0, 4);
  CHECK_THROWS_WITH(mix(x), "tnl_attention: slope must have shape (H) = (2), got (3)");
}
