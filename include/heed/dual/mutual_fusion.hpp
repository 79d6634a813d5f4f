// SPDX-License-Identifier: Apache-2.0
// What the mutual fusions of two modalities share.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed {

/// How the weights of two modalities come from their logits: they sum to 1, or each is on its own.
enum class MutualNormalizer { kSoftmax, kSigmoid };

inline namespace HEED_ISA {
namespace detail {

/// r * a + d * b.
struct WeighTwo {
  static constexpr std::string_view kName = "mutual_fusion";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> r, simd::Batch<T> d, simd::Batch<T> a, simd::Batch<T> b) const {
    return simd::fma(r, a, d * b);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> g, simd::Batch<T> r, simd::Batch<T> d, simd::Batch<T> a,
                          simd::Batch<T> b) const {
    return g * (Operand == 0 ? a : Operand == 1 ? b : Operand == 2 ? r : d);
  }
};
template <Device D, Operand R, Operand Z, Operand A, Operand B>
auto weigh_two(const D& device, const R& r, const Z& d, const A& a, const B& b) {
  return pointwise(WeighTwo(), device, r, d, a, b);
}

template <Operand R, Operand Z, Storage T>
void check_mutual(std::string_view where, const R& rgb_map, const Z& depth_map, const ConvNorm<T>& rgb,
                  const ConvNorm<T>& depth) {
  static_assert(kOperandRank<R> == 4 && kOperandRank<Z> == 4, "heed: a map is (B, C, h, w)");
  const auto r = sizes_of(rgb_map), d = sizes_of(depth_map);
  require(r[2] > 0 && r[3] > 0, where, "rgb must have positions, got shape ", shape_text(r));
  require_shape(where, "depth", d, std::array<Index, 4>{r[0], d[1], r[2], r[3]});
  require_parameter(where, "rgb.weight", rgb.conv.weight, {-1, r[1], 3, 3});
  require_parameter(where, "depth.weight", depth.conv.weight, {rgb.conv.weight.dimension(0), d[1], 3, 3});
}

}  // namespace detail
}  // namespace HEED_ISA
}  // namespace heed
