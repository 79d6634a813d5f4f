// SPDX-License-Identifier: Apache-2.0
// What tests of channel attention share: gradients of all the blocks, and random parameters.
#pragma once

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/band_product.hpp"
#include "heed/autodiff/batch_norm.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/conv_2d.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/group_norm.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/maximum.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/pointwise.hpp"
#include "heed/autodiff/reduce.hpp"
#include "heed/autodiff/resample.hpp"
#include "heed/autodiff/softmax.hpp"
#include "support/finite_differences.hpp"

namespace heed::test {

/// Random parameters, others at each call.
template <int Rank>
Tensor<double, Rank> fill(const std::array<Index, std::size_t(Rank)>& sizes, double spread = 0.7) {
  static unsigned seed = 100;
  return random_tensor<double, Rank>(sizes, ++seed, spread);
}

inline BatchNorm<double> random_batch_norm(Index channels) {
  BatchNorm<double> norm{fill<1>({channels}), fill<1>({channels}), fill<1>({channels}), fill<1>({channels})};
  norm.var = norm.var.square() + 0.5;
  return norm;
}

}  // namespace heed::test
