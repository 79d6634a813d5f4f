// SPDX-License-Identifier: Apache-2.0
// stochastic_topk_instance_mask: some of the instances that get most are hidden, so that others learn.
#pragma once

#include <optional>

#include "heed/block/masked_fill.hpp"
#include "heed/block/selection.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = x with floor(k mask_drop) of the k = min(n_masked, N) largest logits of each row at -1e9; weights = softmax of
/// out, so that what the dropped ones had goes to the rest.
///
/// x (.., N), out and weights as x; rand (.., k), uniform numbers that stand for the draw: ordered increasingly, the
/// first of them name the ranks that are dropped. All of N dropped: equal weights. The choice has no gradient. For
/// training: at inference leave it out. Throws heed::Error for shapes and options that do not fit. Source: Zhang et al.
/// 2024 (ACMIL), STKIM.
struct StochasticTopkInstanceMask {
  struct Options {
    Index n_masked = 10;     ///< 0 or more
    double mask_drop = 0.6;  ///< 0 to 1
  };
  template <class X>
  struct Result {
    X out, weights;
  };

  Options options = {};

  template <Operand X, TensorLike R>
  auto operator()(const X& x, const R& rand) const {
    return (*this)(DeviceRef(), x, rand);
  }
  template <Device D, Operand X, TensorLike R>
  auto operator()(const D& device, const X& x, const R& rand) const {
    auto out = drop(device, x, rand);
    auto weights = softmax(device, out);
    return Result<decltype(out)>{std::move(out), std::move(weights)};
  }

  /// out alone.
  template <Device D, Operand X, TensorLike R>
  auto drop(const D& device, const X& x, const R& rand) const {
    constexpr std::string_view name = "stochastic_topk_instance_mask";
    require(options.n_masked >= 0, name, "n_masked must be 0 or more, got ", options.n_masked);
    require(options.mask_drop >= 0 && options.mask_drop <= 1, name, "mask_drop must be from 0 to 1, got ",
            options.mask_drop);
    const Index k = std::min(options.n_masked, sizes_of(x).back());
    require(const_view(rand).sizes.back() == k, name, "rand must have a last axis of min(n_masked, N) = ", k, ", got ",
            shape_text(const_view(rand).sizes));
    const auto keep = random_drop_mask(device, x, rand, Index(double(k) * options.mask_drop));
    return masked_fill(device, x, keep, -1e9);
  }
  /// out alone, or x without the draws, which n_masked = 0 can do without.
  template <Device D, class X, class R>
  X drop_if(const D& device, X x, const std::optional<R>& rand) const {
    require(rand || options.n_masked == 0, "stochastic_topk_instance_mask", "with n_masked = ", options.n_masked,
            " the draws must be given");
    return rand ? drop(device, x, *rand) : std::move(x);
  }
};

}  // namespace heed::inline HEED_ISA
