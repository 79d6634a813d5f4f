// SPDX-License-Identifier: Apache-2.0
#include "heed/self/neural_memory.hpp"

#include "heed/autodiff.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::error_of;
using heed::test::random_tensor;
using Memory = heed::NeuralMemory<double>;

namespace {

struct Inputs {
  Tensor<double, 4> q, k, v;
  Tensor<double, 3> theta, alpha, eta;

  Inputs(Index tokens, Index chunk, bool momentum, Index width = 3) {
    const std::array<Index, 4> sizes{2, 2, tokens, width};
    q = random_tensor<double, 4>(sizes, 1);
    k = random_tensor<double, 4>(sizes, 2, 0.5);
    v = random_tensor<double, 4>(sizes, 3);
    theta = gates(tokens, 4, 0.1);
    alpha = gates(tokens / chunk, 5, 0.3);
    if (momentum) eta = gates(tokens / chunk, 6, 0.8);
  }
  static Tensor<double, 3> gates(Index count, unsigned seed, double largest) {
    auto x = random_tensor<double, 3>({2, 2, count}, seed);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = largest / (1 + std::exp(-x.data()[i]));
    return x;
  }
};

Memory make(Index layers, const Memory::Options& options) {
  Memory op{options};
  for (Index l = 0; l < layers; ++l)
    op.memory.push_back(random_tensor<double, 3>({2, l == 0 ? 3 : 5, l + 1 == layers ? 3 : 5}, 10 + unsigned(l), 0.5));
  return op;
}

// The definition, token by token, with the gradient of the loss by central differences.
struct Naive {
  const Memory& op;
  const Inputs& in;
  Index b, h;
  using Weights = std::vector<std::vector<double>>;

  double activation(double x) const {
    switch (op.options.activation) {
      case heed::MemoryActivation::kSilu:
        return x / (1 + std::exp(-x));
      case heed::MemoryActivation::kRelu:
        return std::max(x, 0.0);
      default:
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    }
  }
  std::vector<double> apply(const Weights& w, std::vector<double> u) const {
    for (std::size_t l = 0; l < w.size(); ++l) {
      if (l > 0)
        for (double& x : u) x = activation(x);
      const std::size_t outputs = w[l].size() / u.size();
      std::vector<double> y(outputs);
      for (std::size_t i = 0; i < u.size(); ++i)
        for (std::size_t o = 0; o < outputs; ++o) y[o] += u[i] * w[l][i * outputs + o];
      u = y;
    }
    return u;
  }
  std::vector<double> row(const Tensor<double, 4>& x, Index t) const { return {&x(b, h, t, 0), &x(b, h, t, 0) + 3}; }
  double loss(const Weights& w, Index t) const {
    const auto y = apply(w, row(in.k, t));
    double sum = 0;
    for (std::size_t d = 0; d < 3; ++d) sum += std::pow(y[d] - in.v(b, h, t, Index(d)), 2);
    return op.options.loss_reduction == heed::MemoryLoss::kMean ? sum / 3 : sum;
  }
  void operator()(Tensor<double, 4>& out) const {
    Weights m, s, r, g;
    for (const auto& w : op.memory) {
      const Index size = w.dimension(1) * w.dimension(2);
      m.emplace_back(&w(h, 0, 0), &w(h, 0, 0) + size);
    }
    s = g = m;
    for (auto& layer : s) layer.assign(layer.size(), 0);
    const Index c = op.options.chunk_size, batch = op.options.minibatch_size;
    for (Index t = 0; t < in.q.dimension(2); ++t) {
      if (t == 0 || (batch > 0 && t % batch == 0)) r = m;
      if (t % c == 0)
        for (auto& layer : g) layer.assign(layer.size(), 0);
      for (std::size_t l = 0; l < r.size(); ++l)
        for (std::size_t e = 0; e < r[l].size(); ++e) {
          const double old = r[l][e], step = 1e-5;
          r[l][e] = old + step;
          const double above = loss(r, t);
          r[l][e] = old - step;
          g[l][e] += in.theta(b, h, t) * (above - loss(r, t)) / (2 * step);
          r[l][e] = old;
        }
      if (t % c == c - 1)
        for (std::size_t l = 0; l < m.size(); ++l)
          for (std::size_t e = 0; e < m[l].size(); ++e) {
            s[l][e] = (in.eta.size() > 0 ? in.eta(b, h, t / c) * s[l][e] : 0) - g[l][e];
            m[l][e] = (1 - in.alpha(b, h, t / c)) * m[l][e] + s[l][e];
          }
      const auto y = apply(m, row(in.q, t));
      for (Index d = 0; d < 3; ++d) out(b, h, t, d) = y[std::size_t(d)];
    }
  }
};

}  // namespace

TEST_CASE("neural_memory: token by token, in chunks and minibatches, as its definition") {
  const auto [tokens, chunk, minibatch, layers] = GENERATE(table<Index, Index, Index, Index>({{5, 1, 1, 1},
                                                                                              {7, 1, 3, 2},
                                                                                              {7, 1, 0, 2},
                                                                                              {9, 2, 4, 2},
                                                                                              {10, 3, 3, 3},
                                                                                              {2, 3, 3, 2},
                                                                                              {70, 1, 0, 1},
                                                                                              {133, 2, 0, 2}}));
  CAPTURE(tokens, chunk, minibatch, layers);
  for (const bool momentum : {true, false}) {
    auto op = make(layers, {.chunk_size = chunk, .minibatch_size = minibatch});
    op.options.activation = momentum      ? heed::MemoryActivation::kSilu
                            : tokens > 64 ? heed::MemoryActivation::kGelu  // differences do not step over its kink
                                          : heed::MemoryActivation::kRelu;
    if (momentum) op.options.loss_reduction = heed::MemoryLoss::kMean;
    const Inputs in(tokens, chunk, momentum);
    Tensor<double, 4> want(2, 2, tokens, 3);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 2; ++h) Naive{op, in, b, h}(want);
    const auto got = op(in.q, in.k, in.v, in.theta, in.alpha, in.eta);
    CHECK(error_of(got.out, want) < 1e-7);
    CHECK(got.state.momentum.size() == (momentum ? op.memory.size() : 0));
  }
}

TEST_CASE("neural_memory: a sequence cut at minibatches gives the same") {
  const auto op = make(2, {.chunk_size = 2, .minibatch_size = 4});
  const Inputs in(14, 2, true);
  const auto want = op(in.q, in.k, in.v, in.theta, in.alpha, in.eta);
  heed::MemoryState<Tensor<double, 4>> state;
  for (const auto& [start, length] : {std::pair<Index, Index>{0, 8}, {8, 4}, {12, 2}}) {
    const auto of = [s = start, n = length](const auto& x, Index c) { return heed::view(x).slice(2, s / c, n / c); };
    auto part = op(heed::DeviceRef(), of(in.q, 1), of(in.k, 1), of(in.v, 1), of(in.theta, 1), of(in.alpha, 2),
                   of(in.eta, 2), state);
    CHECK(error_of(part.out, of(want.out, 1)) < 1e-14);
    state = std::move(part.state);
  }
  CHECK(error_of(state.memory[1], want.state.memory[1]) < 1e-14);
  CHECK(error_of(state.momentum[0], want.state.momentum[0]) < 1e-14);
}

TEST_CASE("neural_memory: gradients through the inner gradient steps") {
  auto op = make(2, {.chunk_size = 2, .minibatch_size = 4});
  Inputs in(7, 2, true);
  heed::test::GradientCheck check;
  check(
      [&](auto&, const auto& q, const auto& k, const auto& v, const auto& theta, const auto& alpha, const auto& eta) {
        const auto result = op(q, k, v, theta, alpha, eta);
        return std::make_tuple(result.out, result.state.memory[0], result.state.momentum[1]);
      },
      in.q, in.k, in.v, in.theta, in.alpha, in.eta, op);
}

TEST_CASE("neural_memory: errors") {
  auto op = make(2, {.chunk_size = 2, .minibatch_size = 3});
  const Inputs in(6, 2, true);
  const auto run = [&] { op(in.q, in.k, in.v, in.theta, in.alpha, in.eta); };
  CHECK_THROWS_WITH(run(), "neural_memory: minibatch_size must be 0 or a multiple of chunk_size = 2, got 3");
  op.options = {.chunk_size = 3, .minibatch_size = 3};
  CHECK_THROWS_WITH(run(), "neural_memory: alpha must have shape (B, H, U) = (2, 2, 2), got (2, 2, 3)");
  op.options = {.chunk_size = 2, .minibatch_size = 2};
  op.memory[1] = random_tensor<double, 3>({2, 5, 4}, 1);
  CHECK_THROWS_WITH(run(), "neural_memory: memory1 must have shape (H, in, out) = (2, 5, D), got (2, 5, 4)");
  op.memory.clear();
  CHECK_THROWS_WITH(run(), "neural_memory: the memory has no layers");
}
