// SPDX-License-Identifier: Apache-2.0
// entmax: alpha-entmax of the last axis as an operator.
#pragma once

#include "heed/block/entmax.hpp"

namespace heed::inline HEED_ISA {

/// out = alpha-entmax of the last axis, by the block entmax: softmax for alpha = 1, sparsemax for 2.
///
///   heed::Entmax sparsemax{{.alpha = 2}};
///   auto y = sparsemax(x);                                  // or sparsemax(device, x), or (x, alpha)
///
/// x (.., n), out as x; alpha (.., 1) in place of the option, one for each row, differentiable. Shapes, -infinity,
/// errors and cost as of the block. Source: Martins and Astudillo 2016, Peters et al. 2019, Correia et al. 2019; the
/// results of deep-spin/entmax, both its exact and its bisecting functions.
struct Entmax {
  struct Options {
    double alpha = 1.5;  ///< 1 or more
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return entmax(device, x, options.alpha);
  }
  template <Operand X, Operand A>
  auto operator()(const X& x, const A& alpha) const {
    return (*this)(DeviceRef(), x, alpha);
  }
  template <Device D, Operand X, Operand A>
  auto operator()(const D& device, const X& x, const A& alpha) const {
    return entmax(device, x, alpha);
  }
};

}  // namespace heed::inline HEED_ISA
