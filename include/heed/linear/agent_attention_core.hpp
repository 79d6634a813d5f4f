// SPDX-License-Identifier: Apache-2.0
// agent_attention_core: a few agents attend to the keys, and the queries to the agents.
#pragma once

#include <cmath>

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// out = softmax(scale^scale2_power q agent^T + bias_query) (softmax(scale agent k^T + bias_agent) v) + value_shortcut
/// v.
///
///   const heed::AgentAttentionCore attend;
///   auto out = attend(q, agent, k, v);                      // or attend(device, q, agent, k, v, bias_agent,
///   bias_query)
///
/// q (B, H, N, D), agent (B, H, A, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv), any strides; bias_agent
/// (H, A, M) and bias_query (H, N, A), or left out (empty). The last term needs M = N. No agents give value_shortcut v
/// alone. A patch of diffusion models takes full attention unless 2 A < N; that is for the caller.
///
/// Throws heed::Error, before anything is written, for shapes that do not fit. Time O(B H (N + M) A (D + Dv)): linear
/// attention whose feature maps are the two softmaxes. The same bits for any number of threads.
/// Source: Han et al. 2024 (Agent Attention); the power and the shortcut are of the authors' patch for diffusion.
struct AgentAttentionCore {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
    double scale2_power = 1;
    double value_shortcut = 0;
  };

  Options options = {};

  template <Operand Q, Operand A, Operand K, Operand V, Operand BA = View<const OperandScalar<Q>, 3>,
            Operand BQ = View<const OperandScalar<Q>, 3>>
  auto operator()(const Q& q, const A& agent, const K& k, const V& v, const BA& bias_agent = {},
                  const BQ& bias_query = {}) const {
    return (*this)(DeviceRef(), q, agent, k, v, bias_agent, bias_query);
  }
  template <Device D, Operand Q, Operand A, Operand K, Operand V, Operand BA = View<const OperandScalar<Q>, 3>,
            Operand BQ = View<const OperandScalar<Q>, 3>>
  auto operator()(const D& device, const Q& q, const A& agent, const K& k, const V& v, const BA& bias_agent = {},
                  const BQ& bias_query = {}) const {
    const auto sizes = sizes_of(q);
    auto out = make_output<OperandScalar<Q>, 4>(kName, {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q, agent, k, v,
                                                bias_agent, bias_query);
    into(device, parameter_with(q, out), parameter_with(agent, out), k, v, bias_agent, bias_query, view(out));
    if (options.value_shortcut == 0) return out;
    require(sizes_of(v)[2] == sizes[2], kName, "value_shortcut needs as many values as queries, got ", sizes_of(v)[2],
            " and ", sizes[2]);
    return add(device, out, scale(device, v, options.value_shortcut));
  }

  /// Without the shortcut, into a view of any strides or a part of a variable.
  template <Device D, Operand Q, Operand A, Operand K, Operand V, Operand BA, Operand BQ, Operand O>
  void into(const D& device, const Q& q, const A& agent, const K& k, const V& v, const BA& bias_agent,
            const BQ& bias_query, const O& out) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<A> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::AgentAttentionCore: q, agent, k and v are (B, H, tokens, D)");
    const auto agents = sizes_of(agent), values = sizes_of(v);
    require_shape(kName, "agent", agents,
                  std::array<Index, 4>{sizes_of(q)[0], sizes_of(q)[1], agents[2], sizes_of(q)[3]});
    check_bias("bias_agent", sizes_of(bias_agent), {agents[1], agents[2], values[2]});
    check_bias("bias_query", sizes_of(bias_query), {agents[1], sizes_of(q)[2], agents[2]});
    const double factor = options.scale.value_or(1 / std::sqrt(double(agents[3])));
    auto collected = make_output<OperandScalar<Q>, 4>(kName, {agents[0], agents[1], agents[2], values[3]}, q, agent, k,
                                                      v, bias_agent, bias_query);
    attend(device, agent, k, v, bias_agent, factor, view(collected));
    attend(device, q, agent, view(collected), bias_query, std::pow(factor, options.scale2_power), out);
  }

 private:
  static constexpr std::string_view kName = "agent_attention_core";

  static void check_bias(std::string_view name, const std::array<Index, 3>& sizes,
                         const std::array<Index, 3>& expected) {
    require(sizes == expected || sizes[0] * sizes[1] * sizes[2] == 0, kName, name, " must be empty or have shape ",
            shape_text(expected), ", got ", shape_text(sizes));
  }

  template <class D, class Q, class K, class V, class B, class O>
  static void attend(const D& device, const Q& q, const K& k, const V& v, const B& added, double factor, const O& out) {
    const bool biased = sizes_of(added)[0] * sizes_of(added)[1] * sizes_of(added)[2] > 0;
    const auto attention = softmax_attention(when(biased, bias(added)), {.scale = factor});
    attention(device, q, k, v, heed::into(out));
  }
};

}  // namespace heed::inline HEED_ISA
