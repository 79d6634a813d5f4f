// SPDX-License-Identifier: Apache-2.0
// pseudo_masked_attention: causal attention in which later positions still take part in the normalisation.
#pragma once

#include <cmath>

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// out_i = sum over j <= i of exp(s_ij) v_j / z_i, z_i = sum over j <= i of exp(s_ij) + sum over j > i of exp(-gamma (j
/// - i)), s_ij = q_i . k_j / sqrt(D): a row need not spend all of its weight on what it sees.
///
///   heed::PseudoMaskedAttention attend{{.gamma = 0.5}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q, k (B, H, N, D), v and out (B, H, N, Dv); gamma >= 0. The last row is ordinary attention; with gamma = 0 row i has
/// N
/// - 1 - i more in its denominator. It is causal attention times sigmoid(lse_i - log c_i), c_i the sum of the later
/// positions: the fused kernel's time and one pass over the result. Throws heed::Error for shapes and a gamma that do
/// not fit. The same bits for any number of threads.
/// Source: Zhang et al. 2025 (MODA), figure 3; transcription of its mask.
struct PseudoMaskedAttention {
  struct Options {
    double gamma = 0;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    using T = OperandScalar<Q>;
    static_assert(Real<T> && kOperandRank<Q> == 4,
                  "heed::PseudoMaskedAttention: q, k and v are (B, H, N, D), float or "
                  "double");
    constexpr std::string_view where = "pseudo_masked_attention";
    const double gamma = options.gamma;
    require(std::isfinite(gamma) && gamma >= 0, where, "gamma must be 0 or positive and finite, got ", gamma);
    const Index tokens = sizes_of(q)[2];
    require(sizes_of(k)[2] == tokens, where, "k must have as many tokens as q, ", tokens, ", got shape ",
            shape_text(sizes_of(k)));
    Tensor<T, 1> later(tokens);
    for (Index i = 0; i < tokens; ++i) {
      const double n = double(tokens - 1 - i);  // e^-gamma + .. + e^(-gamma n), a geometric sum
      later(i) = T(std::log(gamma == 0 ? n : -std::expm1(-gamma * n) / std::expm1(gamma)));
    }
    const auto [seen, lse] = softmax_attention(causal()).with_lse(device, q, k, v);
    const auto margin = subtract(device, lse, constant_with(std::move(later), q, k, v));
    const auto share = sigmoid(device, margin);
    return multiply(device, seen, view(share).split(2, 1));
  }
};

}  // namespace heed::inline HEED_ISA
