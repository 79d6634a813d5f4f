// SPDX-License-Identifier: Apache-2.0
// gated_linear_attention: a state that forgets by data-dependent gates, one for each key channel or one for all.
#pragma once

#include <optional>

#include "heed/scan/linear_scan.hpp"

namespace heed::inline HEED_ISA {

/// S_t = diag(e^g_t) S_(t-1) + k_t v_t^T and out_t = scale * S_t^T q_t for each head: the token itself is seen, not
/// decayed.
///
///   heed::GatedLinearAttention attend;
///   auto [out, state] = attend(q, k, v, g);                 // and attend(q2, k2, v2, g2, state) goes on
///
/// q (B, H, N, D), k (B, Hk, N, D), v (B, Hk, N, Dv), H a multiple of Hk; g (B, Hk, N, D), or (B, Hk, N, 1), one gate
/// for all of D ("simple" gated linear attention): logarithms of the decay, 0 or less in use. state (B, Hk, D, Dv),
/// zeros if not given; out (B, H, N, Dv). Throws heed::Error for shapes that do not fit. Time and memory as
/// linear_scan: O(N D Dv), no strength of decay overflows. The same bits for any number of threads. Source: Yang et al.
/// 2024, Gated Linear Attention Transformers, eq. 3; fewer key heads are ours.
struct GatedLinearAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: D^-1/2
    LinearForm form = LinearForm::kAuto;         ///< all give the same to rounding
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand G>
  auto operator()(const Q& q, const K& k, const V& v, const G& g) const {
    return (*this)(DeviceRef(), q, k, v, g);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand G>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const G& g) const {
    return (*this)(device, q, k, v, g, View<const OperandScalar<Q>, 4>());
  }
  template <Operand Q, Operand K, Operand V, Operand G, Operand S>
  auto operator()(const Q& q, const K& k, const V& v, const G& g, const S& state) const {
    return (*this)(DeviceRef(), q, k, v, g, state);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand G, Operand S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const G& g, const S& state) const {
    const View<const OperandScalar<Q>, 4> none;
    const auto sizes = sizes_of(k);
    const std::array<Index, 4> each{sizes[0], sizes[1], sizes[2], 1};
    require(sizes_of(g) == sizes || sizes_of(g) == each, "gated_linear_attention", "g must have shape ",
            shape_text(sizes), " or ", shape_text(each), ", got ", shape_text(sizes_of(g)));
    const double scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])));
    return linear_scan(device, q, k, v, g, none, state, {.scale = scale, .form = options.form});
  }
};

}  // namespace heed::inline HEED_ISA
