// SPDX-License-Identifier: Apache-2.0
// performer_attention: softmax attention estimated by positive random features (FAVOR+).
#pragma once

#include <optional>

#include "heed/block/linear.hpp"
#include "heed/block/maximum.hpp"
#include "heed/linear/linear_attention.hpp"

namespace heed::inline HEED_ISA {

/// The kernel that the features estimate.
enum class PerformerKernel { kSoftmax, kRelu };

/// out_i = sum_j w_ij v_j / sum_j w_ij with w_ij = phi(q_i) . phi(k_j), over all j or, causal, j <= i, of the features
///
///   softmax: phi(x) = m^-1/2 (e^(u - c^2 |x|^2 / 2 - mu) + feature_eps),   relu: phi(x) = max(u, 0) + feature_eps
///
/// with u = c projection x and c = D^-1/4. mu is the largest u of a query, and of keys the largest of all positions of
/// a batch and head, later ones too: it cancels but for feature_eps. It is a constant of the gradient.
///
///   heed::PerformerAttention<float> attend{{.causal = true}, projection};
///   auto y = attend(q, k, v);
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv); causal needs N = M, and eps * sum_f phi(q_i)_f
/// is then added to the denominator. projection (m, D), given, not drawn, shared by all heads. Throws heed::Error for
/// shapes that do not fit. Time O((N + M) m (D + Dv)). The same bits for any number of threads.
/// Source: Choromanski et al. 2021, section 2.3 and appendix B; constants as in the port of the authors' code.
template <Real T>
struct PerformerAttention {
  struct Options {
    PerformerKernel kernel = PerformerKernel::kSoftmax;
    bool causal = false;
    std::optional<double> feature_eps = std::nullopt;  ///< none: 1e-4 for softmax, 1e-3 for relu
    double eps = 1e-6;                                 ///< only causal
  };

  Options options = {};
  Tensor<T, 2> projection = {};  ///< (m, D)

  template <class F>
  void for_each_parameter(F&& f) {
    f("projection", projection);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    check(sizes_of(q), sizes_of(k), sizes_of(v));
    const auto phi_q = features(device, q, {3}), phi_k = features(device, k, {2, 3});
    if (!options.causal) {
      const auto [sums, weights] = detail::attend_all(device, phi_q, phi_k, v);
      return divide(device, sums, weights);
    }
    const View<const T, 4> none;
    const Index width = sizes_of(v)[3];
    const auto swept = linear_scan(device, phi_q, phi_k, v, none, none, none, {.normalizer = true});
    const auto weights = add(device, view(swept.out).slice(3, width, 1), sum(device, phi_q, {3}, options.eps));
    return divide(device, view(swept.out).slice(3, 0, width), weights);
  }

 private:
  static constexpr std::string_view kName = "performer_attention";

  // Over the axes `common` the largest u is taken.
  template <class D, Operand X, std::size_t Count>
  auto features(const D& device, const X& x, const int (&common)[Count]) const {
    const double c = std::pow(double(projection.dimension(1)), -0.25);
    const bool softmax = options.kernel == PerformerKernel::kSoftmax;
    const AddConstant plus{options.feature_eps.value_or(softmax ? 1e-4 : 1e-3)};
    const auto scaled = scale(device, x, c);
    const auto u = linear(device, scaled, projection, Tensor<T, 1>());
    if (!softmax) return activate(device, plus, activate(device, Relu(), u));
    const auto half_square = sum(device, multiply(device, scaled, scaled), {3}, 0.5);
    const auto largest = constant_with(max(device, values_of(u), common), u);
    const auto exponent = subtract(device, subtract(device, u, half_square), largest);
    return scale(device, activate(device, plus, activate(device, Exp(), exponent)),
                 1 / std::sqrt(double(projection.dimension(0))));
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v) const {
    require(projection.dimension(0) > 0 && projection.dimension(1) == q[3], kName,
            "projection must have shape (m, D) with D = ", q[3], ", the last axis of q, got ",
            shape_text(const_view(projection).sizes));
    require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3] && (!options.causal || k[2] == q[2]), kName,
            "k must have shape (B, H, M, D) as q ", shape_text(q), ", with M = N if causal, got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], kName, "v must have shape (B, H, M, Dv) as k ", shape_text(k),
            ", got ", shape_text(v));
  }
};

}  // namespace heed::inline HEED_ISA
