// SPDX-License-Identifier: Apache-2.0
// uncertainty_loss_weighting: several losses as one, with learned weights.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out = 1/2 * the sum over k of exp(-w_k) x_k + w_k.
///
///   heed::UncertaintyLossWeighting<float> join;
///   auto loss = join(losses);                               // (1), of losses (K), K from 1
///
/// w (K), learned, 0 at first. Throws heed::Error for shapes that do not fit.
/// Source: Kendall et al. 2018, as in Zhu et al. 2022 (Dual Cross-Attention Learning), eq. 8; transcription.
template <Real T>
struct UncertaintyLossWeighting {
  Tensor<T, 1> w = {};  ///< (K)

  template <class F>
  void for_each_parameter(F&& f) {
    f("w", w);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 1, "heed::UncertaintyLossWeighting: x is (K)");
    require(w.size() >= 1 && w.size() == sizes_of(x)[0], "uncertainty_loss_weighting",
            "x must have shape (K), one loss for each of the weights w (", w.size(), "), got ",
            shape_text(sizes_of(x)));
    const auto weights = parameter_with(w, x);
    const auto precision = exp(device, scale(device, weights, -1));
    return sum(device, add(device, multiply(device, precision, x), weights), {0}, 0.5);
  }
};

}  // namespace heed::inline HEED_ISA
