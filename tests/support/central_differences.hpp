// SPDX-License-Identifier: Apache-2.0
// Gradients of blocks on tensors against central differences, in double.
#pragma once

#include <algorithm>
#include <cmath>

#include "heed/core/tensor.hpp"

namespace heed::test {

/// sum of out * weight, what a cotangent `weight` differentiates.
template <int Rank>
double dot(const Tensor<double, Rank>& out, const Tensor<double, Rank>& weight) {
  double sum = 0;
  for (Index i = 0; i < out.size(); ++i) sum += out.data()[i] * weight.data()[i];
  return sum;
}

/// The largest difference between `gradient` and the central difference of loss(), over the elements of x, on which
/// loss() depends; relative to 1 + the largest gradient.
template <int Rank, class Loss>
double gradient_error(Tensor<double, Rank>& x, const Tensor<double, Rank>& gradient, Loss&& loss, double step = 1e-5) {
  double worst = 0, largest = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const double kept = x.data()[i];
    x.data()[i] = kept + step;
    const double above = loss();
    x.data()[i] = kept - step;
    const double below = loss();
    x.data()[i] = kept;
    const double error = std::abs((above - below) / (2 * step) - gradient.data()[i]);
    worst = error <= worst ? worst : error;  // NaN stays
    largest = std::max(largest, std::abs(gradient.data()[i]));
  }
  return worst / (1 + largest);
}

}  // namespace heed::test
