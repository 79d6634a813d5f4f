// SPDX-License-Identifier: Apache-2.0
// gate: a map times factors that broadcast over it, and the parts that gates are made of. A gate squeezes its source to
// a few numbers (mean, max, pointwise_sum), excites them (a small network and a sigmoid), and applies them: it reads
// its map twice and writes it once, with nothing of the map's size in between.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/conv_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/maximum.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// The product of all operands.
struct ProductOf {
  static constexpr std::string_view kName = "gate";
  template <Real T, class... B>
  simd::Batch<T> value(B... x) const {
    return (x * ...);
  }
  template <int Operand, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, B... x) const {
    int i = 0;
    ((i++ == Operand ? d : d = d * x), ...);
    return d;
  }
};

/// x * (1 + factor).
struct ResidualProduct {
  static constexpr std::string_view kName = "residual_gate";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> factor) const {
    return simd::fma(x, factor, x);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> factor) const {
    if constexpr (Operand == 0) {
      return simd::fma(d, factor, d);
    } else {
      return d * x;
    }
  }
};

/// x1 * gate1 + x2 * gate2 + ..
struct GatedSum {
  static constexpr std::string_view kName = "gated_sum";
  template <Real T, class... Rest>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> gate, Rest... rest) const {
    if constexpr (sizeof...(Rest) == 0) {
      return x * gate;
    } else {
      return simd::fma(x, gate, value<T>(rest...));
    }
  }
  template <int Operand, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, B... x) const {
    const simd::Batch<T> all[] = {x...};
    return d * all[Operand ^ 1];
  }
};

/// x * factor + shift.
struct MultiplyAdd {
  static constexpr std::string_view kName = "multiply_add";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> factor, simd::Batch<T> shift) const {
    return simd::fma(x, factor, shift);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> factor, simd::Batch<T>) const {
    if constexpr (Operand == 2) {
      return d;
    } else {
      return d * (Operand == 0 ? factor : x);
    }
  }
};

/// x * factor * ..., in one pass: factors (B, C, 1, 1), (B, 1, h, w), (B, C, h, 1), ... of x (B, C, h, w).
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X, Operand... Factor>
auto gate(const D& device, const X& x, const Factor&... factor) {
  return pointwise(ProductOf(), device, x, factor...);
}

/// x * factor + x, in one pass.
template <Device D, Operand X, Operand Factor>
auto residual_gate(const D& device, const X& x, const Factor& factor) {
  return pointwise(ResidualProduct(), device, x, factor);
}

/// x * factor + shift, in one pass, each broadcast: gamma * f(x) + x, a weighted sum of maps, ...
template <Device D, Operand X, Operand Factor, Operand Shift>
auto multiply_add(const D& device, const X& x, const Factor& factor, const Shift& shift) {
  return pointwise(MultiplyAdd(), device, x, factor, shift);
}

/// Throws heed::Error unless x (B, C, h, w) has positions.
template <Operand X>
void require_map(std::string_view where, const X& x) {
  static_assert(kOperandRank<X> == 4, "heed: a map is (B, C, h, w)");
  require(sizes_of(x)[2] > 0 && sizes_of(x)[3] > 0, where, "x must have positions, got shape ",
          shape_text(sizes_of(x)));
}

/// Throws heed::Error unless a parameter has a shape; -1 stands for any size from 1.
template <TensorLike W>
void require_parameter(std::string_view where, std::string_view name, const W& tensor,
                       const std::array<Index, std::size_t(kRankOf<W>)>& expected) {
  const auto sizes = const_view(tensor).sizes;
  bool fits = true;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis)
    fits = fits && (sizes[axis] == expected[axis] || (expected[axis] < 0 && sizes[axis] > 0));
  require(fits, where, name, " must have shape ", shape_text(expected), " (-1 for any), got ", shape_text(sizes));
}

/// fc2(relu(fc1(z))) of z (B, C, 1, 1): what most channel gates excite with.
template <Device D, Operand Z, Storage T>
auto bottleneck(const D& device, const Z& z, const Linear<T>& fc1, const Linear<T>& fc2) {
  const auto hidden = conv_channels(device, z, fc1.weight, fc1.bias);
  const auto active = relu(device, hidden);
  return conv_channels(device, active, fc2.weight, fc2.bias);
}

}  // namespace heed::inline HEED_ISA
