// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/dynamic_mask_attention_layer.hpp"

#include "catch.hpp"
#include "support/self_attention.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

namespace {

DynamicMaskAttentionLayer<float> layer(bool bias) {
  DynamicMaskAttentionLayer<float> attend{{.num_heads = 4, .num_kv_heads = 2, .head_dim = 6}};
  attend.q = random_linear<float>(24, 5, bias, 1);
  attend.k = random_linear<float>(12, 5, bias, 2);
  attend.v = random_linear<float>(12, 5, bias, 3);
  attend.out = random_linear<float>(5, 24, bias, 4);
  attend.dt = random_linear<float>(2, 12, bias, 5);
  attend.q_norm.weight = random_tensor<float, 1>({6}, 6);
  attend.k_norm.weight = random_tensor<float, 1>({6}, 7);
  attend.A = random_tensor<float, 1>({2}, 8);
  return attend;
}

// RMS norm, then the rotation of the channels d and d + 3.
Tensor<double, 4> turned(const Tensor<double, 3>& flat, Index heads, const Tensor<float, 1>& weight, double base) {
  auto x = heads_of(flat, heads);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index h = 0; h < heads; ++h)
      for (Index n = 0; n < x.dimension(2); ++n) {
        double square = 0;
        for (Index d = 0; d < 6; ++d) square += x(b, h, n, d) * x(b, h, n, d);
        for (Index d = 0; d < 6; ++d) x(b, h, n, d) *= double(weight(d)) / std::sqrt(square / 6 + 1e-6);
        for (Index d = 0; d < 3; ++d) {
          const double angle = double(n) * std::pow(base, -double(d) / 3), u = x(b, h, n, d), v = x(b, h, n, d + 3);
          x(b, h, n, d) = u * std::cos(angle) - v * std::sin(angle);
          x(b, h, n, d + 3) = v * std::cos(angle) + u * std::sin(angle);
        }
      }
  return x;
}

}  // namespace

TEST_CASE("dynamic_mask_attention_layer is attention to the keys whose own values say so") {
  for (const Index tokens : {1, 3, 17, 63})
    for (const bool bias : {false, true})
      for (const auto form : {DynamicBias::kLinear, DynamicBias::kExp})
        for (const Index window : {1, 5, 100}) {
          auto attend = layer(bias);
          attend.options.window_size = window;
          attend.options.bias_form = form;
          attend.options.rope_base = 300;
          const auto x = random_tensor<float, 3>({2, tokens, 5}, 9);
          const auto q = turned(apply(attend.q, x), 4, attend.q_norm.weight, 300),
                     k = turned(apply(attend.k, x), 2, attend.k_norm.weight, 300);
          const auto v = apply(attend.v, x), steps = apply(attend.dt, v);
          const auto step = [&](Index b, Index h, Index j) {
            const double s = double(attend.A(h / 2)) * std::log1p(std::exp(steps(b, j, h / 2)));
            return form == DynamicBias::kExp ? std::exp(s) : s;
          };
          NaiveAttention naive;
          naive.score = [&](double s, Index b, Index h, Index, Index j) { return s + step(b, h, j); };
          naive.visible = [&](Index b, Index h, Index i, Index j) {
            Index before = 0;
            for (Index x = 0; x <= i; ++x) before += step(b, h, x) > step(b, h, j);
            return j <= i && before < window;
          };
          const auto want = apply(attend.out, merged(naive(q, k, heads_of(v, 2)).out));
          CHECK(error_of(attend(x), want) < 1e-5);
        }
}

TEST_CASE("dynamic_mask_attention_layer: no token meets a later one; threads; errors") {
  auto attend = layer(true);
  attend.options.window_size = 7;
  auto x = random_tensor<float, 3>({2, 40, 5}, 9);
  const auto y = attend(x);
  check_threads([&](const DeviceRef& device) { return attend(device, x); });
  for (Index c = 0; c < 5; ++c) x(0, 30, c) = float(kNaN);
  CHECK(error_of(const_view(attend(x)).slice(1, 0, 30), const_view(y).slice(1, 0, 30)) == 0);
  CHECK(attend(Tensor<float, 3>(0, 3, 5)).size() == 0);
  CHECK(attend(Tensor<float, 3>(2, 0, 5)).size() == 0);

  attend.A = Tensor<float, 1>(3);
  CHECK_THROWS_WITH(attend(x), "dynamic_mask_attention_layer: A must have shape (2), got (3)");
  attend.options.num_kv_heads = 3;
  CHECK_THROWS_WITH(attend(x), "dynamic_mask_attention_layer: num_heads = 4 must be a multiple of num_kv_heads = 3");
  attend.options = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 5};
  CHECK_THROWS_WITH(attend(x), "dynamic_mask_attention_layer: head_dim must be even, got 5");
}
