// SPDX-License-Identifier: Apache-2.0
// An optimiser for any operator that shows its parameters.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "heed/heed.hpp"

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019), for gradients clipped to a length of 1 over all
/// parameters. Vectors, which are the weights of norms, do not decay.
struct AdamW {
  double mean_decay = 0.9, square_decay = 0.95, weight_decay = 0.1;
  std::vector<std::vector<float>> mean, square;  // of the gradients, for each parameter
  int step = 0;

  template <heed::HasParameters Op>
  void operator()(Op& op, heed::Tape<float>& tape, double rate) {
    double length = 0;
    heed::for_each_parameter(std::as_const(op), [&](std::string_view, const auto& weight) {
      const float* d = tape.grad(weight).data;
      for (heed::Index i = 0; i < weight.size(); ++i) length += double(d[i]) * double(d[i]);
    });
    ++step;
    const float clip = float(1 / std::max(1.0, std::sqrt(length)));
    const float size = float(rate * std::sqrt(1 - std::pow(square_decay, step)) / (1 - std::pow(mean_decay, step)));
    const float fresh_mean = float(1 - mean_decay), fresh_square = float(1 - square_decay);
    std::size_t at = 0;
    heed::for_each_parameter(op, [&](std::string_view, auto& weight) {
      const std::size_t count = std::size_t(weight.size());
      if (mean.size() == at) mean.emplace_back(count), square.emplace_back(count);
      const float keep = float(1 - (weight.NumDimensions > 1 ? rate * weight_decay : 0));
      const float* d = tape.grad(weight).data;
      float *m = mean[at].data(), *s = square[at].data(), *w = weight.data();
      for (std::size_t i = 0; i < count; ++i) {
        const float g = clip * d[i];
        m[i] += fresh_mean * (g - m[i]);
        s[i] += fresh_square * (g * g - s[i]);
        w[i] = keep * w[i] - size * m[i] / (std::sqrt(s[i]) + 1e-8f);
      }
      ++at;
    });
  }
};
