// SPDX-License-Identifier: Apache-2.0
#include "heed/linear/agent_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "support/mixers.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::fill;
using heed::test::layer;
using heed::test::random_layer_norm;
using heed::test::random_tensor;

namespace {

// softmax(factor q k^T + bias) v.
Tensor<double, 4> softmax_of(const Tensor<double, 4>& q, const Tensor<double, 4>& k, const Tensor<double, 4>& v,
                             double factor, const Tensor<double, 3>& bias) {
  Tensor<double, 4> out(q.dimension(0), q.dimension(1), q.dimension(2), v.dimension(3));
  out.setZero();
  for (Index b = 0; b < q.dimension(0); ++b)
    for (Index h = 0; h < q.dimension(1); ++h)
      for (Index i = 0; i < q.dimension(2); ++i) {
        double total = 0;
        for (Index j = 0; j < k.dimension(2); ++j) {
          double s = bias.size() > 0 ? bias(h, i, j) : 0;
          for (Index d = 0; d < q.dimension(3); ++d) s += factor * q(b, h, i, d) * k(b, h, j, d);
          total += std::exp(s);
          for (Index c = 0; c < v.dimension(3); ++c) out(b, h, i, c) += std::exp(s) * v(b, h, j, c);
        }
        for (Index c = 0; c < v.dimension(3); ++c) out(b, h, i, c) /= total;
      }
  return out;
}

heed::AgentAttention<double> random_attention(const heed::AgentAttention<double>::Options& o, Index channels,
                                              Index base) {
  heed::AgentAttention<double> attend{o};
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.out}) *part = layer(channels, channels);
  attend.dw = {fill<4>({channels, 1, 3, 3}), fill<1>({channels})};
  const Index heads = o.num_heads, agents = o.agents, r = o.sr_ratio;
  attend.bias_agent = {
      fill<4>({heads, agents, base, base}), fill<3>({heads, agents, o.h / r}), fill<3>({heads, agents, o.w / r}), {}};
  attend.bias_query = {
      fill<4>({heads, agents, base, base}), fill<3>({heads, o.h, agents}), fill<3>({heads, o.w, agents}), {}};
  if (o.cls_token) {
    attend.bias_agent.cls = fill<2>({heads, agents});
    attend.bias_query.cls = fill<2>({heads, agents});
  }
  if (r > 1) {
    attend.sr = {fill<4>({channels, channels, r, r}), fill<1>({channels})};
    attend.norm = random_layer_norm(channels);
  }
  return attend;
}

}  // namespace

TEST_CASE("agent_attention_core is two softmaxes") {
  auto q = random_tensor<double, 4>({2, 2, 5, 3}, 1), agent = random_tensor<double, 4>({2, 2, 2, 3}, 2);
  auto k = random_tensor<double, 4>({2, 2, 5, 3}, 3), v = random_tensor<double, 4>({2, 2, 5, 4}, 4);
  auto of_agents = random_tensor<double, 3>({2, 2, 5}, 5), of_queries = random_tensor<double, 3>({2, 5, 2}, 6);
  const heed::AgentAttentionCore attend{{.scale = 0.4, .scale2_power = 0.5, .value_shortcut = 0.25}};
  const Tensor<double, 4> want =
      softmax_of(q, agent, softmax_of(agent, k, v, 0.4, of_agents), std::sqrt(0.4), of_queries) + v * 0.25;
  CHECK(error_of(attend(q, agent, k, v, of_agents, of_queries), want) < 1e-13);
  const double by = 1 / std::sqrt(3.0);
  CHECK(error_of(heed::AgentAttentionCore()(q, agent, k, v),
                 softmax_of(q, agent, softmax_of(agent, k, v, by, {}), by, {})) < 1e-13);
  check_gradients([&](auto&, const auto&... x) { return attend(x...); }, q, agent, k, v, of_agents, of_queries);

  const Tensor<double, 4> nobody(2, 2, 0, 3), shortcut = v * 0.25;
  CHECK(error_of(attend(q, nobody, k, v), shortcut) == 0);

  const auto fewer = random_tensor<double, 4>({2, 2, 4, 3}, 7), values = random_tensor<double, 4>({2, 2, 4, 4}, 8);
  CHECK_THROWS_AS(attend(q, agent, fewer, values), heed::Error);
  CHECK_THROWS_WITH(attend(q, agent, k, v, of_queries),
                    "agent_attention_core: bias_agent must be empty or have shape (2, 2, 5), got (2, 5, 2)");
}

TEST_CASE("agent_attention puts its biases where their keys and queries are") {
  // No agent sees anything but through its biases: q and k are 0.
  auto attend = random_attention({.num_heads = 2, .agents = 4, .h = 2, .w = 3, .cls_token = true}, 4, 2);
  attend.q = {Tensor<double, 2>(4, 4), {}};
  attend.q.weight.setZero();
  attend.dw.weight.setZero();
  attend.dw.bias.setZero();
  for (auto* bias : {&attend.bias_agent, &attend.bias_query}) bias->table.setConstant(0.3);  // the same everywhere
  const auto x = random_tensor<double, 3>({1, 7, 4}, 1);
  const Tensor<double, 3> values = attend.v(x);
  Tensor<double, 4> v(1, 2, 7, 2), none_q(1, 2, 7, 2), none_a(1, 2, 4, 2);
  none_q.setZero();
  none_a.setZero();
  for (Index n = 0; n < 7; ++n)
    for (Index c = 0; c < 4; ++c) v(0, c / 2, n, c % 2) = values(0, n, c);
  Tensor<double, 3> of_agents(2, 4, 7), of_queries(2, 7, 4);
  for (Index h = 0; h < 2; ++h)
    for (Index a = 0; a < 4; ++a)
      for (Index n = 0; n < 7; ++n) {
        const Index y = (n - 1) / 3, column = (n - 1) % 3;
        of_agents(h, a, n) = n == 0 ? attend.bias_agent.cls(h, a)
                                    : 0.3 + attend.bias_agent.row(h, a, y) + attend.bias_agent.column(h, a, column);
        of_queries(h, n, a) = n == 0 ? attend.bias_query.cls(h, a)
                                     : 0.3 + attend.bias_query.row(h, y, a) + attend.bias_query.column(h, column, a);
      }
  const auto mixed = softmax_of(none_q, none_a, softmax_of(none_a, none_q, v, 1, of_agents), 1, of_queries);
  Tensor<double, 3> o(1, 7, 4);
  for (Index n = 0; n < 7; ++n)
    for (Index c = 0; c < 4; ++c) o(0, n, c) = mixed(0, c / 2, n, c % 2);
  CHECK(error_of(attend(x), attend.out(o)) < 1e-13);
}

TEST_CASE("Gradients of agent_attention: rectangles, a class token, reduced keys") {
  for (const auto& o :
       {heed::AgentAttention<double>::Options{.num_heads = 2, .agents = 4, .h = 3, .w = 2, .cls_token = true},
        heed::AgentAttention<double>::Options{.num_heads = 1, .agents = 1, .h = 2, .w = 4, .sr_ratio = 2}}) {
    auto attend = random_attention(o, 2, 3);
    auto x = random_tensor<double, 3>({1, o.h * o.w + o.cls_token, 2}, 1);
    check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  }
  auto attend = random_attention({.agents = 4, .h = 2, .w = 2}, 2, 3);
  CHECK_THROWS_AS(attend(random_tensor<double, 3>({1, 5, 2}, 1)), heed::Error);
  attend.options.agents = 5;
  CHECK_THROWS_WITH(attend(random_tensor<double, 3>({1, 4, 2}, 1)),
                    "agent_attention: agents must be a square number, got 5");
}
