// SPDX-License-Identifier: Apache-2.0
// eca: efficient channel attention, a gate from a short convolution along the channels.
#pragma once

#include <cmath>

#include "heed/block/band_product.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = x * sigmoid(a), a(c) = sum over j of w(j) z(c + j - (k - 1) / 2), z the mean of each channel over all
/// positions and 0 outside of the channels.
///
/// x (B, C, h, w), out as x; conv_weight (k), shared by the channels, or with Eca<T, false> (C, k), a kernel for each
/// (the paper's ECA-NS). k is odd and may exceed C: kernel_size(C) is the authors' choice of it. Throws heed::Error for
/// an even k, shapes that do not fit and a map without positions. Reads x twice and writes it once. The same bits for
/// any number of threads.
/// Source: Wang et al. 2020.
template <Real T, bool shared = true>
struct Eca {
  Tensor<T, shared ? 1 : 2> conv_weight = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("conv.weight", conv_weight);
  }

  /// t = floor(|(log2(C) + b) / gamma|), made odd upwards: 3 for 64 channels, 5 for 256 and 512.
  static Index kernel_size(Index channels, double gamma = 2, double b = 1) {
    const Index t = Index(std::abs((std::log2(double(channels)) + b) / gamma));
    return t % 2 == 1 ? t : t + 1;
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1], k = conv_weight.dimension(shared ? 0 : 1);
    require(k % 2 == 1 && (shared || conv_weight.dimension(0) == channels), kName, "conv.weight must have shape ",
            shared ? "(k)" : "(C, k)", " with C = ", channels, " and odd k, got ",
            shape_text(const_view(conv_weight).sizes));
    const auto squeezed = mean(device, x, {2, 3});
    const auto logits = band_product(view(squeezed).select(3, 0).select(2, 0), kernels());
    const auto factor = sigmoid(device, logits);
    return gate(device, x, view(factor).split(1, 1).split(2, 1));
  }

 private:
  static constexpr std::string_view kName = "eca";

  View<const T, 2> kernels() const {
    if constexpr (shared) {
      return const_view(conv_weight).split(0, conv_weight.size());
    } else {
      return conv_weight;
    }
  }
};

}  // namespace heed::inline HEED_ISA
