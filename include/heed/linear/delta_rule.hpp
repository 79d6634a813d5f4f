// SPDX-License-Identifier: Apache-2.0
// delta_rule and gated_delta_rule: a state that writes what it does not yet hold.
#pragma once

#include <optional>

#include "heed/scan/linear_scan.hpp"

namespace heed::inline HEED_ISA {

struct DeltaRuleOptions {
  std::optional<double> scale = std::nullopt;  ///< of the queries; none: D^-1/2
  LinearForm form = LinearForm::kAuto;         ///< all give the same to rounding
};

namespace detail {

/// beta (B, H, N) as (B, H, N, 1); of four axes as it is.
template <Operand B>
auto with_channels(const B& beta) {
  if constexpr (kOperandRank<B> == 3) {
    return view(beta).split(2, 1);
  } else {
    static_assert(kOperandRank<B> == 4, "heed::DeltaRule: beta is (B, H, N) or (B, H, N, Dv)");
    return view(beta);
  }
}

template <Device D, Operand Q, Operand K, Operand V, Operand B, Operand G, Operand S>
auto apply_delta_rule(std::string_view where, const D& device, const Q& q, const K& k, const V& v, const B& beta,
                      const G& decay, const S& state, const DeltaRuleOptions& options) {
  const auto sizes = sizes_of(v);
  const auto strengths = with_channels(values_of(beta)).sizes;
  const std::array<Index, 4> each{sizes[0], sizes[1], sizes[2], 1};
  require(strengths == each || strengths == sizes, where, "beta must have shape (B, H, N) or that of v, ",
          shape_text(sizes), ", got ", shape_text(sizes_of(beta)));
  const double scale = options.scale.value_or(1 / std::sqrt(double(sizes_of(k)[3])));
  return linear_scan(device, q, k, v, decay, with_channels(beta), state, {.scale = scale, .form = options.form});
}

}  // namespace detail

/// u_t = beta_t (v_t - S_(t-1)^T k_t), S_t = S_(t-1) + k_t u_t^T and out_t = scale * S_t^T q_t for each head: what the
/// state answers to k_t moves by beta_t towards v_t.
///
///   heed::DeltaRule attend;
///   auto [out, state] = attend(q, k, v, beta);              // and attend(q2, k2, v2, beta2, state) goes on
///
/// q and k (B, H, N, D), v (B, H, N, Dv), beta (B, H, N) or (B, H, N, Dv), in 0 .. 1 in use; out (B, H, N, Dv), state
/// (B, H, D, Dv), zeros if not given. Keys are used as given, and models make them of unit length: beta |k|^2 > 2
/// diverges, which is not checked. Throws heed::Error for shapes that do not fit. Time O(N D Dv) and, in chunks of C,
/// O(N C (D + Dv)): a triangular solve for each chunk. The same bits for any number of threads.
/// Source: Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule, section 3.
struct DeltaRule {
  using Options = DeltaRuleOptions;
  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand B>
  auto operator()(const Q& q, const K& k, const V& v, const B& beta) const {
    return (*this)(DeviceRef(), q, k, v, beta);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand B>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const B& beta) const {
    return (*this)(device, q, k, v, beta, View<const OperandScalar<Q>, 4>());
  }
  template <Operand Q, Operand K, Operand V, Operand B, Operand S>
  auto operator()(const Q& q, const K& k, const V& v, const B& beta, const S& state) const {
    return (*this)(DeviceRef(), q, k, v, beta, state);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand B, Operand S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const B& beta, const S& state) const {
    const View<const OperandScalar<Q>, 4> none;
    return detail::apply_delta_rule("delta_rule", device, q, k, v, beta, none, state, options);
  }
};

/// The delta rule on a state that decays: S' = e^g_t S_(t-1), u_t = beta_t (v_t - S'^T k_t), S_t = S' + k_t u_t^T and
/// out_t = scale * S_t^T q_t.
///
///   auto [out, state] = heed::GatedDeltaRule()(q, k, v, beta, g);
///
/// As DeltaRule, with g (B, H, N), the logarithms of the decay, 0 or less in use; or (B, H, N, D), one for each key
/// channel. Source: Yang et al. 2025, Gated Delta Networks, eq. 10; a decay for each channel is as in Kimi Linear.
struct GatedDeltaRule {
  using Options = DeltaRuleOptions;
  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand B, Operand G>
  auto operator()(const Q& q, const K& k, const V& v, const B& beta, const G& g) const {
    return (*this)(DeviceRef(), q, k, v, beta, g);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand B, Operand G>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const B& beta, const G& g) const {
    return (*this)(device, q, k, v, beta, g, View<const OperandScalar<Q>, 4>());
  }
  template <Operand Q, Operand K, Operand V, Operand B, Operand G, Operand S>
  auto operator()(const Q& q, const K& k, const V& v, const B& beta, const G& g, const S& state) const {
    return (*this)(DeviceRef(), q, k, v, beta, g, state);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand B, Operand G, Operand S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const B& beta, const G& g,
                  const S& state) const {
    const auto sizes = sizes_of(k);
    const auto decays = detail::with_channels(values_of(g)).sizes;
    const std::array<Index, 4> each{sizes[0], sizes[1], sizes[2], 1};
    require(decays == each || decays == sizes, "gated_delta_rule", "g must have shape (B, H, N) or that of k, ",
            shape_text(sizes), ", got ", shape_text(sizes_of(g)));
    return detail::apply_delta_rule("gated_delta_rule", device, q, k, v, beta, detail::with_channels(g), state,
                                    options);
  }
};

}  // namespace heed::inline HEED_ISA
