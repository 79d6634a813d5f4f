// SPDX-License-Identifier: Apache-2.0
// cosformer_attention: linear attention of relu features, weighted down with distance by a cosine.
#pragma once

#include <numbers>

#include "heed/block/phase_features.hpp"
#include "heed/linear/linear_attention.hpp"

namespace heed::inline HEED_ISA {

/// out_i = sum_j w_ij v_j / max(sum_j w_ij, eps), w_ij = relu(q_i) . relu(k_j) cos(pi (i - j) / (2 m)), m = max(N, M);
/// j <= i if causal.
///
///   auto y = heed::CosformerAttention{{.causal = true}}(q, k, v);
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv); causal needs N = M. The cosine of a difference
/// is a product of 2D features (phase_features). Positions are relative to m, so that the result changes with the
/// padded length. The denominator is clamped from below, with the gradient 0 where it is. Throws heed::Error for shapes
/// that do not fit. Time O((N + M) 2D Dv). The same bits for any number of threads. Source: Qin et al. 2022, cosFormer,
/// eq. 10 to 12.
struct CosformerAttention {
  struct Options {
    bool causal = false;
    double eps = 1e-6;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    using T = OperandScalar<Q>;
    const auto queries = sizes_of(q), keys = sizes_of(k), values = sizes_of(v);
    require(keys[0] == queries[0] && keys[1] == queries[1] && keys[3] == queries[3] &&
                (!options.causal || keys[2] == queries[2]),
            kName, "k must have shape (B, H, M, D) as q ", shape_text(queries), ", with M = N if causal, got ",
            shape_text(keys));
    require(values[0] == keys[0] && values[1] == keys[1] && values[2] == keys[2], kName,
            "v must have shape (B, H, M, Dv) as k ", shape_text(keys), ", got ", shape_text(values));
    const double longest = double(std::max<Index>(1, std::max(queries[2], keys[2])));
    const auto features = [&](const auto& x) {
      Tensor<T, 2> theta(1, 1);
      theta(0, 0) = T(std::numbers::pi / (2 * longest));
      const auto positive = activate(device, Relu(), x);
      return phase_features(device, positive, constant_with(std::move(theta), q, k, v), 1);
    };
    const auto phi_q = features(q), phi_k = features(k);
    const auto normalized = [&](const auto& sums, const auto& weights) {
      return divide(device, sums, activate(device, AtLeast{options.eps}, weights));
    };
    if (!options.causal) {
      const auto [sums, weights] = detail::attend_all(device, phi_q, phi_k, v);
      return normalized(sums, weights);
    }
    const View<const T, 4> none;
    const auto swept = linear_scan(device, phi_q, phi_k, v, none, none, none, {.normalizer = true});
    return normalized(view(swept.out).slice(3, 0, values[3]), view(swept.out).slice(3, values[3], 1));
  }

 private:
  static constexpr std::string_view kName = "cosformer_attention";
};

}  // namespace heed::inline HEED_ISA
