// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "heed/linear/delta_rule.hpp"
#include "heed/linear/gated_linear_attention.hpp"
#include "heed/linear/lightning_attention.hpp"
#include "heed/linear/retention.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class X>
auto piece(const X& x, Index from, Index count) {
  return heed::const_view(x).slice(2, from, count);
}

// What an operator gives for a sequence, it gives in two pieces.
template <class Call>
void check_pieces(Index tokens, const Call& call) {
  const auto whole = call(0, tokens, Tensor<float, 4>());
  const auto first = call(0, tokens / 3, Tensor<float, 4>());
  const auto second = call(tokens / 3, tokens - tokens / 3, first.state);
  CHECK(error_of(first.out, piece(whole.out, 0, tokens / 3)) < 1e-5);
  CHECK(error_of(second.out, piece(whole.out, tokens / 3, tokens - tokens / 3)) < 1e-5);
  CHECK(error_of(second.state, whole.state) < 1e-5);
}

}  // namespace

TEST_CASE("Retention, lightning and gated linear attention of one constant decay are the same") {
  const Index tokens = 40;
  const auto q = random_tensor<float, 4>({2, 3, tokens, 5}, 1), k = random_tensor<float, 4>({2, 3, tokens, 5}, 2);
  const auto v = random_tensor<float, 4>({2, 3, tokens, 4}, 3);
  const heed::Retention<float> retain{{.scale = 1}};
  heed::LightningAttention<float> lightning{{.block_size = 7}, Tensor<float, 1>(3)};
  Tensor<float, 4> g(2, 3, tokens, 1), gates(2, 3, tokens, 5);
  Tensor<double, 4> want(2, 3, tokens, 4);
  want.setZero();
  for (Index h = 0; h < 3; ++h) {
    const double gamma = 1 - std::exp2(-5.0 - double(h));
    lightning.slope(h) = float(-std::log(gamma));
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < tokens; ++i) {
        g(b, h, i, 0) = float(std::log(gamma));
        for (Index d = 0; d < 5; ++d) gates(b, h, i, d) = g(b, h, i, 0);
        for (Index j = 0; j <= i; ++j)
          for (Index c = 0; c < 4; ++c)
            for (Index d = 0; d < 5; ++d)
              want(b, h, i, c) += std::pow(gamma, double(i - j)) * q(b, h, i, d) * k(b, h, j, d) * v(b, h, j, c);
      }
  }
  const heed::GatedLinearAttention gated{{.scale = 1}};
  CHECK(error_of(retain(q, k, v).out, want) < 1e-5);
  check_threads([&](const heed::DeviceRef& device) { return retain(device, q, k, v).out; });
  CHECK(error_of(lightning(q, k, v).out, want) < 1e-5);
  check_threads([&](const heed::DeviceRef& device) { return lightning(device, q, k, v).out; });
  CHECK(error_of(gated(q, k, v, g).out, want) < 1e-5);
  CHECK(error_of(gated(q, k, v, gates).out, want) < 1e-5);
  check_threads([&](const heed::DeviceRef& device) { return gated(device, q, k, v, gates).out; });
  CHECK(error_of(heed::Retention<float>()(q, k, v).state, retain(q, k, v).state) == 0);
  check_pieces(tokens, [&](Index from, Index count, const auto& state) {
    return retain(piece(q, from, count), piece(k, from, count), piece(v, from, count), state);
  });
  check_pieces(tokens, [&](Index from, Index count, const auto& state) {
    return gated(piece(q, from, count), piece(k, from, count), piece(v, from, count), piece(gates, from, count), state);
  });
  lightning.slope.setZero();
  Tensor<float, 4> none(2, 3, tokens, 1);
  none.setZero();
  CHECK(error_of(lightning(q, k, v).out, gated(q, k, v, none).out) < 1e-6);
}

TEST_CASE("delta_rule: beta 1 and keys at right angles recall each value exactly") {
  const Index tokens = 5;
  Tensor<float, 4> k(1, 1, tokens, 8), beta(1, 1, tokens, 1);
  k.setZero();
  for (Index t = 0; t < tokens; ++t) k(0, 0, t, t) = 1;
  beta.setConstant(1);
  const auto v = random_tensor<float, 4>({1, 1, tokens, 3}, 1);
  const Tensor<float, 3> strengths = beta.reshape(std::array<Index, 3>{1, 1, tokens});
  const heed::DeltaRule attend{{.scale = 1}};
  const auto written = attend(k, k, v, strengths);
  CHECK(error_of(written.out, v) < 1e-6);
  // Written again, what is stored is replaced, not added to.
  const auto other = random_tensor<float, 4>({1, 1, tokens, 3}, 2);
  CHECK(error_of(attend(k, k, other, strengths, written.state).state, attend(k, k, other, strengths).state) < 1e-6);
}

TEST_CASE("delta_rule and gated_delta_rule: pieces, equal cases, errors") {
  const Index tokens = 40;
  const auto q = random_tensor<float, 4>({2, 2, tokens, 5}, 1), k = random_tensor<float, 4>({2, 2, tokens, 5}, 2, 0.4);
  const auto v = random_tensor<float, 4>({2, 2, tokens, 4}, 3);
  const Tensor<float, 3> beta = random_tensor<float, 3>({2, 2, tokens}, 4, 0.3).abs();
  const Tensor<float, 3> g = -random_tensor<float, 3>({2, 2, tokens}, 5, 0.3).abs();
  Tensor<float, 4> wide(2, 2, tokens, 4);
  for (Index i = 0; i < wide.size(); ++i) wide.data()[i] = beta.data()[i / 4];
  const heed::DeltaRule plain;
  const heed::GatedDeltaRule gated;
  CHECK(error_of(plain(q, k, v, wide).out, plain(q, k, v, beta).out) < 1e-6);
  check_threads([&](const heed::DeviceRef& device) { return plain(device, q, k, v, wide).out; });
  Tensor<float, 3> zero(2, 2, tokens);
  zero.setZero();
  CHECK(error_of(gated(q, k, v, beta, zero).out, plain(q, k, v, beta).out) < 1e-6);
  CHECK(error_of(gated(q, k, v, zero, g).state, heed::Tensor<float, 4>(plain(q, k, v, zero).state)) == 0);
  check_pieces(tokens, [&](Index from, Index count, const auto& state) {
    return gated(piece(q, from, count), piece(k, from, count), piece(v, from, count), piece(beta, from, count),
                 piece(g, from, count), state);
  });
  CHECK_THROWS_WITH(plain(q, k, v, random_tensor<float, 3>({2, 2, 3}, 1)),
                    "delta_rule: beta must have shape (B, H, N) or that of v, (2, 2, 40, 4), got (2, 2, 3)");
  CHECK_THROWS_WITH(heed::LightningAttention<float>()(q, k, v),
                    "lightning_attention: slope must have shape (H) = (2), got (0)");
}

TEST_CASE("lightning_slopes: those of ALiBi, smaller in later layers") {
  const auto first = heed::lightning_slopes<double>(6, 0, 12), last = heed::lightning_slopes<double>(6, 11, 12);
  const double want[] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
  for (Index h = 0; h < 6; ++h) {
    CHECK(first(h) == Approx(want[h] * 1.00001));
    CHECK(last(h) == Approx(want[h] * 1e-5));
  }
  CHECK_THROWS_WITH(heed::lightning_slopes<float>(6, 12, 12),
                    "lightning_slopes: layer must be in 0 .. num_layers - 1, of 2 layers or more, got layer 12 of 12");
}
