// SPDX-License-Identifier: Apache-2.0
// retention: linear attention with one decay for each head.
#pragma once

#include <optional>

#include "heed/core/parameters.hpp"
#include "heed/scan/linear_scan.hpp"

namespace heed::inline HEED_ISA {

/// The logarithms of the decays of RetNet, log(1 - 2^(-5 - h)) for h = 0 .. H - 1, as linear_scan takes them,
/// (1, H, 1, 1); or of the decays gamma (H) where there are some. Throws heed::Error, naming `where`, unless gamma is
/// empty or has H elements, all positive.
template <Real T>
Tensor<T, 4> retention_log_decay(Index heads, const Tensor<T, 1>& gamma, std::string_view where) {
  require(gamma.size() == 0 || gamma.size() == heads, where, "gamma must be empty or have shape (H) = (", heads,
          "), got (", gamma.size(), ")");
  Tensor<T, 4> log_decay(1, heads, 1, 1);
  for (Index h = 0; h < heads; ++h) {
    require(gamma.size() == 0 || gamma(h) > 0, where, "gamma must be positive, got ",
            gamma.size() == 0 ? T(1) : gamma(h));
    log_decay(0, h, 0, 0) =
        T(gamma.size() == 0 ? std::log1p(-std::exp2(-5.0 - double(h))) : std::log(double(gamma(h))));
  }
  return log_decay;
}

/// out_i = scale * sum over j <= i of gamma_h^(i - j) (q_i . k_j) v_j for each head h, by a state that decays by
/// gamma_h from token to token.
///
///   heed::Retention<float> retain;
///   auto [out, state] = retain(q, k, v);                    // and retain(q2, k2, v2, state) goes on
///
/// q and k (B, H, N, D), v (B, H, N, Dv), out (B, H, N, Dv); state (B, H, D, Dv), zeros if not given. gamma (H), or
/// empty for 1 - 2^(-5 - h); a constant, without a gradient. No normaliser and no rotation: those belong to the layer,
/// MultiScaleRetention. Throws heed::Error for shapes that do not fit. Time and memory as linear_scan: O(N D Dv). The
/// same bits for any number of threads.
/// Source: Sun et al. 2023, Retentive Network, eq. 5 to 7.
template <Real T>
struct Retention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: D^-1/2
    LinearForm form = LinearForm::kAuto;         ///< all give the same to rounding
  };

  Options options = {};
  Tensor<T, 1> gamma = {};  ///< (H) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    f("gamma", gamma, heed::optional);
  }

  template <Operand Q, Operand K, Operand V, Operand S = View<const T, 4>>
  auto operator()(const Q& q, const K& k, const V& v, const S& state = {}) const {
    return (*this)(DeviceRef(), q, k, v, state);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand S = View<const T, 4>>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const S& state = {}) const {
    const View<const T, 4> none;
    const auto sizes = sizes_of(k);
    require_shape("retention", "q", sizes_of(q), sizes);
    const auto decay = constant_with(retention_log_decay<T>(sizes[1], gamma, "retention"), q, k, v, state);
    const double scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])));
    return linear_scan(device, q, k, v, decay, none, state, {.scale = scale, .form = options.form});
  }
};

}  // namespace heed::inline HEED_ISA
