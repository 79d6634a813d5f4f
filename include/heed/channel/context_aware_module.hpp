// SPDX-License-Identifier: Apache-2.0
// context_aware_module: averages at several grid sizes, weighed by how much each position differs from them.
#pragma once

#include <vector>

#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// sum + g * u, and a / b.
struct AddProduct {
  static constexpr std::string_view kName = "context_aware_module";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> sum, simd::Batch<T> g, simd::Batch<T> u) const {
    return simd::fma(g, u, sum);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T> g, simd::Batch<T> u) const {
    if constexpr (Operand == 0) {
      return d;
    } else {
      return d * (Operand == 1 ? u : g);
    }
  }
};
struct Quotient {
  static constexpr std::string_view kName = "context_aware_module";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> a, simd::Batch<T> b) const {
    return a / b;
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> a, simd::Batch<T> b) const {
    return Operand == 0 ? d / b : -(d * a) / (b * b);
  }
};

}  // namespace detail

/// out = relu(out([m, x])), m = (sum over i of g_i u_i) / (sum of g_i), g_i = sigmoid(contrast(x - u_i)), and u_i the
/// averages of x on a grid of sizes[i] x sizes[i] cells through scale_i, resized to (h, w) bilinearly with half-pixel
/// centres. All layers have kernels of one position.
///
/// x (B, C, h, w), out (B, Co, h, w); scale{i}.weight (C, C), contrast.weight (C, C), contrast.bias (C), shared by the
/// scales, out.weight (Co, 2 C), out.bias (Co). Maps smaller than a grid repeat cells. Throws heed::Error for shapes
/// and options that do not fit and a map without positions. Time O(B h w C^2). The same bits for any number of threads.
/// Source: Liu et al. 2019 (CAN), as in M-SFANet, Thanasutives et al. 2020.
template <Real T>
struct ContextAwareModule {
  struct Options {
    std::array<Index, 4> sizes{1, 2, 3, 6};
  };

  Options options = {};
  std::array<ConvChannels<T>, 4> scale = {};
  ConvChannels<T> contrast = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < 4; ++i) f("scale" + std::to_string(i) + ".weight", scale[i].weight);
    visit_parts(f, "contrast.", contrast, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1];
    for (std::size_t i = 0; i < 4; ++i) {
      require_parameter(kName, "scale" + std::to_string(i) + ".weight", scale[i].weight, {channels, channels});
      require(options.sizes[i] > 0, kName, "options.sizes must be 1 or more, got ", options.sizes[i]);
    }
    require_parameter(kName, "contrast.weight", contrast.weight, {channels, channels});
    require_parameter(kName, "out.weight", out.weight, {-1, 2 * channels});
    const auto context = [&](std::size_t i) {
      const auto cells = adaptive_average_pool(device, x, {options.sizes[i], options.sizes[i]});
      return resize_bilinear(device, scale[i](device, cells), {sizes_of(x)[2], sizes_of(x)[3]});
    };
    const auto factor = [&](const auto& u) { return sigmoid(device, contrast(device, subtract(device, x, u))); };
    const auto first = context(0);
    auto total = factor(first);
    auto sum = multiply(device, total, first);
    for (std::size_t i = 1; i < 4; ++i) {
      const auto u = context(i);
      const auto g = factor(u);
      sum = pointwise(detail::AddProduct(), device, sum, g, u);
      total = add(device, total, g);
    }
    const auto mixed = pointwise(detail::Quotient(), device, sum, total);
    return relu(device, out(device, concat<1>(device, mixed, x)));
  }

 private:
  static constexpr std::string_view kName = "context_aware_module";
};

}  // namespace heed::inline HEED_ISA
