// SPDX-License-Identifier: Apache-2.0
// neural_memory: a small network for each head whose weights learn, by a gradient step at every token.
#pragma once

#include <vector>

#include "heed/block/activation_slope.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/decay_matrix.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

enum class MemoryActivation { kGelu, kSilu, kRelu };
enum class MemoryLoss { kSum, kMean };

/// What a neural memory carries from one call to the next: its weights (B, H, d_l, d_(l+1)) for each layer, and their
/// momentum, empty without one. X is a Tensor<T, 4> or a Var.
template <class X>
struct MemoryState {
  std::vector<X> memory = {};
  std::vector<X> momentum = {};
};

/// X is a Tensor, or a Var where one of the inputs is one.
template <class X>
struct MemoryResult {
  X out;
  MemoryState<X> state;
};

struct NeuralMemoryOptions {
  Index chunk_size = 1;
  Index minibatch_size = 1;  ///< a multiple of chunk_size, or 0: all tokens
  MemoryActivation activation = MemoryActivation::kGelu;
  MemoryLoss loss_reduction = MemoryLoss::kSum;
};

namespace detail {

/// NeuralMemory with its options and parameters, wherever those are kept.
template <Real T>
struct NeuralMemoryRun {
  const NeuralMemoryOptions& options;
  const std::vector<Tensor<T, 3>>& memory;

  template <Device D, Operand Q, Operand K, Operand V, Operand Theta, Operand Alpha, Operand Eta, class X>
  MemoryResult<X> operator()(const D& device, const Q& q, const K& k, const V& v, const Theta& theta,
                             const Alpha& alpha, const Eta& eta, const MemoryState<X>& state) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<Theta> == 3,
                  "heed::NeuralMemory: q, k and v are (B, H, N, D), theta (B, H, N), alpha and eta (B, H, U)");
    const bool momentum = sizes_of(eta)[0] > 0 || state.momentum.size() > 0;
    check(sizes_of(q), sizes_of(k), sizes_of(v), sizes_of(theta), sizes_of(alpha), sizes_of(eta), state, momentum);
    const Index tokens = sizes_of(q)[2], chunk = options.chunk_size;
    const Index minibatch = options.minibatch_size > 0 ? options.minibatch_size : std::max<Index>(tokens, 1);
    const Index segment = std::min(minibatch, std::max(kSegment / chunk, Index(1)) * chunk);

    auto out = make_output<T, 4>(kName, sizes_of(q), q, k, v, theta, alpha, eta);
    auto one = make_output<T, 3>(kName, {1, 1, 1}, out);
    fill(device, one, 1);
    const auto keep = subtract(device, one, alpha);
    MemoryState<X> now = first_state(device, state, out, momentum);
    std::vector<X> rates;  // R, where it outlives a segment
    for (Index t = 0; t < tokens;) {
      const Index count = std::min({segment, tokens - t, minibatch - t % minibatch});
      const Index units = count / chunk;
      if (segment < minibatch && t % minibatch == 0) rates = now.memory;
      const auto of = [&](auto&& x, Index length) { return view(x).slice(2, t, length); };
      const auto unit = [&](const auto& x) { return view(x).slice(2, t / chunk, units); };
      const auto target = of(out, count);
      if (units == 0) {
        concat_into<0>(device, target, read(device, of(q, count), now));
      } else {
        const auto step = gradients(device, segment < minibatch ? rates : now.memory, of(k, units * chunk),
                                    of(v, units * chunk), of(theta, units * chunk));
        const auto forgetting = decay_matrix(device, unit(keep));
        if (momentum) {
          const auto moving = decay_matrix(device, unit(eta));
          const auto factors = matmul(device, view(forgetting).slice(3, 1, units), view(moving).slice(2, 1, units));
          advance(device, of(q, count), step, forgetting, view(factors).slice(3, 1, units),
                  view(factors).slice(3, 0, 1), &moving, now, target);
        } else {
          const X* const none = nullptr;
          const auto factors = view(forgetting).slice(3, 1, units);
          advance(device, of(q, count), step, forgetting, factors, factors, none, now, target);
        }
      }
      t += count;
    }
    return {std::move(out), std::move(now)};
  }

  template <class D, Operand Q, class X>
  X read(const D& device, const Q& q, const MemoryState<X>& state) const {
    X u = contiguous(device, q);
    for (std::size_t l = 0; l < memory.size(); ++l) {
      if (l > 0) u = activated(device, u);
      u = state.memory.empty() ? matmul(device, u, view(memory[l]).template promote<4>())
                               : matmul(device, u, state.memory[l]);
    }
    return u;
  }

 private:
  static constexpr std::string_view kName = "neural_memory";
  static constexpr Index kSegment = 64;

  // Of a segment's tokens: what each layer was given at R, and the gradient in what it gave, times theta.
  template <class X>
  struct Step {
    std::vector<X> inputs, slopes;
  };

  static constexpr std::array<int, 4> kTransposed{0, 1, 3, 2};

  template <class D, class X>
  X activated(const D& device, const X& x) const {
    switch (options.activation) {
      case MemoryActivation::kSilu:
        return activate(device, Silu(), x);
      case MemoryActivation::kRelu:
        return activate(device, Relu(), x);
      default:
        return activate(device, Gelu(), x);
    }
  }
  template <class D, class X>
  X slope(const D& device, const X& x) const {
    switch (options.activation) {
      case MemoryActivation::kSilu:
        return activate(device, SiluSlope(), x);
      case MemoryActivation::kRelu:
        return activate(device, ReluSlope(), x);
      default:
        return activate(device, GeluSlope(), x);
    }
  }

  template <class D, class X>
  MemoryState<X> first_state(const D& device, const MemoryState<X>& given, const X& like, bool momentum) const {
    MemoryState<X> first;
    for (std::size_t l = 0; l < memory.size(); ++l) {
      const auto w = view(memory[l]).template promote<4>();
      const std::array<Index, 4> sizes{sizes_of(like)[0], w.size(1), w.size(2), w.size(3)};
      first.memory.push_back(make_output<T, 4>(kName, sizes, like));
      if (given.memory.empty()) {
        concat_into<1>(device, first.memory[l], w);
      } else {
        concat_into<1>(device, first.memory[l], given.memory[l]);
      }
      if (!momentum) continue;
      first.momentum.push_back(make_output<T, 4>(kName, sizes, like));
      if (given.momentum.empty()) {
        fill(device, first.momentum[l], 0);
      } else {
        concat_into<1>(device, first.momentum[l], given.momentum[l]);
      }
    }
    return first;
  }

  // Back-propagation through the network of weights R, written out.
  template <class D, class X, Operand K, Operand V, Operand Theta>
  Step<X> gradients(const D& device, const std::vector<X>& weights, const K& k, const V& v, const Theta& theta) const {
    const std::size_t layers = weights.size();
    Step<X> step{std::vector<X>(layers), std::vector<X>(layers)};
    std::vector<X> made(layers);
    step.inputs[0] = contiguous(device, k);
    for (std::size_t l = 0; l < layers; ++l) {
      made[l] = matmul(device, step.inputs[l], weights[l]);
      if (l + 1 < layers) step.inputs[l + 1] = activated(device, made[l]);
    }
    const double factor = options.loss_reduction == MemoryLoss::kMean ? 2 / double(sizes_of(v)[3]) : 2;
    const auto error = multiply(device, subtract(device, made[layers - 1], v), view(theta).split(2, 1));
    step.slopes[layers - 1] = scale(device, error, factor);
    for (std::size_t l = layers - 1; l > 0; --l) {
      const auto back = matmul(device, step.slopes[l], view(weights[l]).permute(kTransposed));
      step.slopes[l - 1] = multiply(device, back, slope(device, made[l - 1]));
    }
    return step;
  }

  // Reads of a segment into `target`, then the state behind it. Row u of forgetting (B, H, units + 1, units + 1), of
  // factors (.., units) and of momentum_factor (.., 1) is the state behind unit u: M = forgetting(u, 0) first M +
  // momentum_factor(u) first S - sum over units s of factors(u, s) G_s.
  template <class D, Operand Q, class X, Operand Forgetting, Operand Factors, Operand Moved, class Moving, Operand O>
  void advance(const D& device, const Q& q, const Step<X>& step, const Forgetting& forgetting, const Factors& factors,
               const Moved& momentum_factor, const Moving* moving, MemoryState<X>& now, const O& target) const {
    const Index count = sizes_of(q)[2], units = sizes_of(factors)[3], chunk = options.chunk_size;
    // The row that each token reads: behind the units that it completes.
    const auto by_token = [&](const auto& rows) {
      if (chunk == 1) return contiguous(device, view(rows).slice(2, 1, count));
      X all = make_output<T, 4>(kName, {sizes_of(q)[0], sizes_of(q)[1], count, sizes_of(rows)[3]}, now.memory[0]);
      for (Index u = 0; u <= units; ++u) {
        const Index from = std::max<Index>(u * chunk - 1, 0), to = std::min((u + 1) * chunk - 1, count);
        if (from < to) concat_into<3>(device, view(all).slice(2, from, to - from), view(rows).slice(2, u, 1));
      }
      return all;
    };
    // Factors of units, times what is of tokens: (.., units) of axis `axis` against (.., units chunk).
    const auto of_units = [&](const auto& tokens, const auto& per_unit, int axis, const auto& split) {
      const auto product = multiply(device, view(tokens).split(axis, chunk), split(per_unit));
      return contiguous(device, view(product).merge(axis));
    };
    const auto token_factors = by_token(factors), token_forgetting = by_token(view(forgetting).slice(3, 0, 1));
    const auto token_momentum = by_token(momentum_factor);
    X u = contiguous(device, q);
    for (std::size_t l = 0; l < memory.size(); ++l) {
      if (l > 0) u = activated(device, u);
      X read = multiply(device, matmul(device, u, now.memory[l]), token_forgetting);
      if (moving) read = add(device, read, multiply(device, matmul(device, u, now.momentum[l]), token_momentum));
      const auto pairs = matmul(device, u, view(step.inputs[l]).permute(kTransposed));
      const auto weighted = of_units(pairs, token_factors, 3, [](const auto& x) { return view(x).split(3, 1); });
      u = subtract(device, read, matmul(device, weighted, step.slopes[l]));
    }
    concat_into<0>(device, target, u);

    const auto last = [&](const auto& rows) { return view(rows).slice(2, units, 1); };
    // The sum over units of a row's factor times G.
    const auto written = [&](const auto& row, std::size_t l) {
      const auto weighted =
          of_units(step.slopes[l], row, 2, [](const auto& x) { return view(x).permute(kTransposed).split(3, 1); });
      return matmul(device, view(step.inputs[l]).permute(kTransposed), weighted);
    };
    for (std::size_t l = 0; l < memory.size(); ++l) {
      X kept = multiply(device, now.memory[l], last(view(forgetting).slice(3, 0, 1)));
      if (moving) {
        kept = add(device, kept, multiply(device, now.momentum[l], last(momentum_factor)));
        const auto slowed = multiply(device, now.momentum[l], last(view(*moving).slice(3, 0, 1)));
        now.momentum[l] = subtract(device, slowed, written(last(view(*moving).slice(3, 1, units)), l));
      }
      now.memory[l] = subtract(device, kept, written(last(factors), l));
    }
  }

  template <class X>
  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const std::array<Index, 3>& theta, const std::array<Index, 3>& alpha, const std::array<Index, 3>& eta,
             const MemoryState<X>& state, bool momentum) const {
    require(k == q, kName, "k must have shape (B, H, N, D) = ", shape_text(q), ", got ", shape_text(k));
    require(v == q, kName, "v must have shape (B, H, N, D) = ", shape_text(q), ", got ", shape_text(v));
    const Index chunk = options.chunk_size, batch = options.minibatch_size;
    require(chunk > 0, kName, "chunk_size must be 1 or more, got ", chunk);
    require(batch >= 0 && batch % chunk == 0, kName, "minibatch_size must be 0 or a multiple of chunk_size = ", chunk,
            ", got ", batch);
    const std::array<Index, 3> tokens{q[0], q[1], q[2]}, units{q[0], q[1], q[2] / chunk};
    require(theta == tokens, kName, "theta must have shape (B, H, N) = ", shape_text(tokens), ", got ",
            shape_text(theta));
    require(alpha == units, kName, "alpha must have shape (B, H, U) = ", shape_text(units), ", got ",
            shape_text(alpha));
    require(eta == units || !momentum, kName, "eta must be empty or have shape (B, H, U) = ", shape_text(units),
            ", got ", shape_text(eta));
    require(!memory.empty(), kName, "the memory has no layers");
    require(state.memory.empty() || state.memory.size() == memory.size(), kName, "the state has ", state.memory.size(),
            " layers, the memory ", memory.size());
    require(state.momentum.empty() || state.momentum.size() == memory.size(), kName, "the state has momentum for ",
            state.momentum.size(), " layers, the memory has ", memory.size());
    Index width = q[3];
    for (std::size_t l = 0; l < memory.size(); ++l) {
      const auto w = const_view(memory[l]).sizes;
      require(w[0] == q[1] && w[1] == width && (l + 1 < memory.size() || w[2] == q[3]), kName, "memory", l,
              " must have shape (H, in, out) = (", q[1], ", ", width, l + 1 < memory.size() ? ", out" : ", D",
              "), got ", shape_text(w));
      width = w[2];
      const std::array<Index, 4> expected{q[0], w[0], w[1], w[2]};
      const auto check_state = [&](const std::vector<X>& layers, std::string_view name) {
        if (!layers.empty())
          require(sizes_of(layers[l]) == expected, kName, "the state's ", name, " ", l, " must have shape ",
                  shape_text(expected), ", got ", shape_text(sizes_of(layers[l])));
      };
      check_state(state.memory, "memory");
      check_state(state.momentum, "momentum");
    }
  }
};

}  // namespace detail

/// A memory M, a network of matrices memory0, memory1, .. that is written by gradient descent and read by queries.
///
///   heed::NeuralMemory<float> remember{{.minibatch_size = 16}};
///   remember.memory = {w0, w1};                                       // (H, D, R), (H, R, D)
///   auto [out, state] = remember(q, k, v, theta, alpha, eta);         // eta may be an empty tensor: no momentum
///   auto more = remember(device, q2, k2, v2, theta2, alpha2, eta2, state);
///
/// q, k, v and out (B, H, N, D); theta (B, H, N) step sizes; alpha, forgetting, and eta, momentum (B, H, U), in [0, 1],
/// U = floor(N / chunk_size); a default-made tensor as eta, of shape (0, 0, 0), means no momentum. memory{l} is (H,
/// d_l, d_(l+1)), from d_0 = D to D again, used as u W: M(u) = u W_0, then for each further layer the activation and
/// W_l. For each head, with M and momentum S carried in or initial:
///
/// 1. Every minibatch_size tokens, R <- M: the weights that gradients are taken at. 0: once.
/// 2. A unit is chunk_size tokens. G = sum over them of theta_t times the gradient in R of sum_d (R(k_t) - v_t)_d^2, or
///    of the mean over d.
/// 3. After its last token S <- eta S - G, or -G without eta, and M <- (1 - alpha) M + S.
/// 4. out_t = M(q_t), with M after token t. Tokens beyond the last unit only read.
///
/// Tokens are taken up to 64 at a time and no weights are made for one of them: within such a segment M is a
/// combination of the first M, the first S and outer products, whose factors are those of two decay matrices. It costs
/// O(N (sum of d_l d_(l+1)) + 64 N (sum of d_l)) time for minibatches from 64; shorter ones make shorter segments, and
/// those of one token N steps one after the other. A sequence may be cut between calls at multiples of minibatch_size.
/// Gradients go through the inner gradient steps. Throws heed::Error, before anything is written, for shapes and
/// options that do not fit. The same bits for any number of threads.
/// Source: Behrouz et al. 2024, Titans, eq. 8-18; lucidrains/titans-pytorch for the chunked form.
template <Real T>
struct NeuralMemory {
  using Options = NeuralMemoryOptions;

  Options options = {};
  std::vector<Tensor<T, 3>> memory = {};

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t l = 0; l < memory.size(); ++l) f("memory" + std::to_string(l), memory[l]);
  }

  template <Operand Q, Operand K, Operand V, Operand Theta, Operand Alpha, Operand Eta>
  auto operator()(const Q& q, const K& k, const V& v, const Theta& theta, const Alpha& alpha, const Eta& eta) const {
    return (*this)(DeviceRef(), q, k, v, theta, alpha, eta);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand Theta, Operand Alpha, Operand Eta>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Theta& theta, const Alpha& alpha,
                  const Eta& eta) const {
    using X = decltype(make_output<T, 4>({}, {}, q, k, v, theta, alpha, eta));
    return (*this)(device, q, k, v, theta, alpha, eta, MemoryState<X>());
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand Theta, Operand Alpha, Operand Eta, class X>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Theta& theta, const Alpha& alpha,
                  const Eta& eta, const MemoryState<X>& state) const {
    return detail::NeuralMemoryRun<T>{options, memory}(device, q, k, v, theta, alpha, eta, state);
  }
  /// M(q) of a state, or of the initial memory for an empty one, without writing: q (B, H, N, D).
  template <Device D, Operand Q, class X>
  X read(const D& device, const Q& q, const MemoryState<X>& state) const {
    return detail::NeuralMemoryRun<T>{options, memory}.read(device, q, state);
  }
};

}  // namespace heed::inline HEED_ISA
