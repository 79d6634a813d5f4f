// SPDX-License-Identifier: Apache-2.0
// The parts that memory_as_context, memory_as_gate and memory_as_layer share.
#pragma once

#include "heed/attention/mask/standard.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/self/neural_memory.hpp"

namespace heed::inline HEED_ISA {

/// A NeuralMemory with its projections: x (B, N, C) to (B, N, C), with an own state.
///
/// q = l2(SiLU(x q.weight^T)), k likewise, v = SiLU(x v.weight^T), in heads, l2(u) = u / sqrt(sum of u^2 + 1e-12);
/// theta = max_step sigmoid(x theta.weight^T + theta.bias), eta and alpha without max_step, one number for each head.
/// The memory takes every token as a unit, with GELU and the sum as its loss.
template <Real T>
struct TitansMemory {
  Linear<T> q = {}, k = {}, v = {}, theta = {}, eta = {}, alpha = {};
  std::vector<Tensor<T, 3>> memory = {};  ///< (H, d_l, d_(l+1)) for each layer

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "theta.", theta, "eta.", eta, "alpha.", alpha);
    for (std::size_t l = 0; l < memory.size(); ++l) f("memory" + std::to_string(l), memory[l]);
  }

  /// What goes on behind the tokens that `state` holds, which becomes the state behind x; empty: the initial one.
  template <class D, Operand X, class S>
  auto operator()(const D& device, const X& x, Index minibatch_size, double max_step, MemoryState<S>& state) const {
    const NeuralMemoryOptions options{.minibatch_size = minibatch_size};
    const auto gate = [&](const Linear<T>& layer) { return sigmoid(device, layer(device, x)); };
    const auto by_head = [](const auto& gates) { return view(gates).permute({0, 2, 1}); };
    const auto steps = scale(device, gate(theta), max_step);
    const auto forgetting = gate(alpha), momentum = gate(eta), values = silu(device, v(device, x));
    auto result = detail::NeuralMemoryRun<T>{options, memory}(device, unit_heads(device, q, x),
                                                              unit_heads(device, k, x), heads(values), by_head(steps),
                                                              by_head(forgetting), by_head(momentum), state);
    state = std::move(result.state);
    return merged(device, result.out);
  }
  /// What the queries of x read from a state, which stays as it is.
  template <class D, Operand X, class S>
  auto read(const D& device, const X& x, const MemoryState<S>& state) const {
    return merged(device, detail::NeuralMemoryRun<T>{{}, memory}.read(device, unit_heads(device, q, x), state));
  }

  void check(std::string_view where, Index width, Index num_heads, Index minibatch_size, double max_step) const {
    require(num_heads > 0 && width % num_heads == 0, where, "C = ", width,
            " must be a multiple of num_memory_heads = ", num_heads);
    require(minibatch_size >= 0, where, "minibatch_size must be 0 or more, got ", minibatch_size);
    require(std::isfinite(max_step), where, "max_step must be finite, got ", max_step);
    const auto check_layer = [&](std::string_view name, const Linear<T>& layer, Index out, bool bias) {
      const std::array<Index, 2> expected{out, width};
      require(const_view(layer.weight).sizes == expected, where, "mem.", name, ".weight must have shape ",
              shape_text(expected), ", got ", shape_text(const_view(layer.weight).sizes));
      require(layer.bias.size() == (bias ? out : 0), where, "mem.", name, ".bias must have shape (", bias ? out : 0,
              "), got (", layer.bias.size(), ")");
    };
    check_layer("q", q, width, false);
    check_layer("k", k, width, false);
    check_layer("v", v, width, false);
    check_layer("theta", theta, num_heads, true);
    check_layer("eta", eta, num_heads, true);
    check_layer("alpha", alpha, num_heads, true);
    require(!memory.empty(), where, "the memory has no layers");
    Index in = width / num_heads;
    for (std::size_t l = 0; l < memory.size(); ++l) {
      const auto& w = memory[l];
      const Index out = l + 1 < memory.size() ? w.dimension(2) : width / num_heads;
      const std::array<Index, 3> expected{num_heads, in, out};
      require(const_view(w).sizes == expected, where, "mem.memory", l, " must have shape ", shape_text(expected),
              ", got ", shape_text(const_view(w).sizes));
      in = out;
    }
  }

 private:
  Index num_heads() const { return theta.weight.dimension(0); }

  template <Operand X>
  auto heads(const X& x) const {
    return view(x).split(2, sizes_of(x)[2] / num_heads()).permute({0, 2, 1, 3});
  }
  template <class D, Operand X>
  auto unit_heads(const D& device, const Linear<T>& layer, const X& x) const {
    const auto projected = silu(device, layer(device, x));
    return l2_normalize(device, heads(projected), {.eps = 1e-12, .eps_inside = true});
  }
  template <class D, Operand X>
  static auto merged(const D& device, const X& x) {
    const auto tokens = contiguous(device, view(x).permute({0, 2, 1, 3}));
    return contiguous(device, view(tokens).merge(2));
  }
};

/// Multi-head attention of the last rows of x (B, M, C) to all of them: without biases, causal, and, with a window,
/// only to the window_size rows up to itself and to the first ones.
template <Real T>
struct TitansAttention {
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  /// Of the rows from `first` on. window_size 0: none.
  template <class D, Operand X>
  auto operator()(const D& device, const X& x, Index num_heads, Index first, Index window_size,
                  Index always_seen) const {
    const auto sizes = sizes_of(x);
    const auto heads = [width = sizes[2] / num_heads](const auto& y) {
      return view(y).split(2, width).permute({0, 2, 1, 3});
    };
    const auto queries = q(device, view(x).slice(1, first, sizes[1] - first));
    const auto keys = k(device, x), values = v(device, x);
    const auto attend =
        softmax_attention(causal() && when(window_size > 0, window_left(std::max<Index>(window_size - 1, 0)) ||
                                                                sink_tokens(always_seen)));
    const auto mixed = attend(device, heads(queries), heads(keys), heads(values));
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

  void check(std::string_view where, Index num_heads, Index width) const {
    require(num_heads > 0 && width > 0 && width % num_heads == 0, where, "C = ", width,
            " must be a multiple of num_heads = ", num_heads);
    const std::array<Index, 2> expected{width, width};
    const auto check_layer = [&](std::string_view name, const Linear<T>& layer) {
      require(const_view(layer.weight).sizes == expected && layer.bias.size() == 0, where, "attn.", name,
              " must have a weight of shape (C, C) = ", shape_text(expected), " and no bias, got ",
              shape_text(const_view(layer.weight).sizes));
    };
    check_layer("q", q);
    check_layer("k", k);
    check_layer("v", v);
    check_layer("out", out);
  }
};

/// rms_norm(y) sigmoid(rms_norm(m)), each with its own weights (C). Titans says no more than that both are normalised
/// with learned vectors before a non-linearity: this form is our reading.
template <Real T>
struct TitansGate {
  RmsNorm<T> norm_y = {}, norm_m = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "norm_y.", norm_y, "norm_m.", norm_m);
  }

  template <class D, Operand Y, Operand M>
  auto operator()(const D& device, const Y& y, const M& m) const {
    return multiply(device, norm_y(device, y), sigmoid(device, norm_m(device, m)));
  }

  void check(std::string_view where, Index width) const {
    const auto check_norm = [&](std::string_view name, const RmsNorm<T>& norm) {
      require(norm.weight.size() == width, where, "gate.", name, ".weight must have shape (C) = (", width, "), got (",
              norm.weight.size(), ")");
    };
    check_norm("norm_y", norm_y);
    check_norm("norm_m", norm_m);
  }
};

namespace detail {

/// persistent (P, C), the same for every batch, before the rows of x... (B, .., C).
template <class D, class T, Operand First, Operand... X>
auto behind_persistent(const D& device, const Tensor<T, 2>& persistent, const First& first, const X&... x) {
  if (persistent.size() == 0) return concat<1>(device, first, x...);
  if constexpr (Recorded<First>) {
    return concat<1>(device, tape_of("titans", first).parameter(persistent).template promote<3>(), first, x...);
  } else {
    return concat<1>(device, view(persistent).template promote<3>(), first, x...);
  }
}

template <class T>
void check_persistent(std::string_view where, const Tensor<T, 2>& persistent, const std::array<Index, 3>& x) {
  require(persistent.dimension(0) == 0 || persistent.dimension(1) == x[2], where,
          "persistent must have shape (P, C) with C = ", x[2], ", got ", shape_text(const_view(persistent).sizes));
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
