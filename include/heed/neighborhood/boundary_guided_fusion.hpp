// SPDX-License-Identifier: Apache-2.0
// boundary_guided_fusion: detail where there are boundaries, context elsewhere.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/norm_conv.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// e p + (1 - e) i + p + i.
struct GuidedSum {
  static constexpr std::string_view kName = "boundary_guided_fusion";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> p, simd::Batch<T> i, simd::Batch<T> e) const {
    return simd::fma(e, p - i, simd::fma(i, simd::Batch<T>(T(2)), p));
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> p, simd::Batch<T> i, simd::Batch<T> e) const {
    if constexpr (Operand == 0) {
      return simd::fma(d, e, d);
    } else if constexpr (Operand == 1) {
      return d * (simd::Batch<T>(T(2)) - e);
    } else {
      return d * (p - i);
    }
  }
};

}  // namespace detail

/// out = f_out(e P + (1 - e) I + P + I), P = f_p(p), I = f_i(i), e = sigmoid(d), f_n(t) = 3x3 conv(relu(bn(t))) of
/// group n.
///
///   heed::BoundaryGuidedFusion<float> fuse;
///   auto y = fuse(p, i, d);                                 // or fuse(device, p, i, d)
///
/// p, detail, and i, context, (B, C, h, w); d, logits of boundaries, (B, C, h, w) or (B, 1, h, w); out (B, O, h, w).
/// {p,i,out}.bn.{weight,bias,mean,var} (C), {p,i}.conv.weight (C, C, 3, 3), out.conv.weight (O, C, 3, 3), no biases.
/// Throws heed::Error for shapes that do not fit and maps without positions. Time O(9 B h w C (2 C + O)); the same bits
/// for any number of threads. Source: Huang et al. 2025 (BEVANet), the class BGAF of the authors' code.
template <Real T>
struct BoundaryGuidedFusion {
  NormConv<T> p = {}, i = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "p.", p, "i.", i, "out.", out);
  }

  template <Operand P, Operand I, Operand E>
  auto operator()(const P& p_map, const I& i_map, const E& d) const {
    return (*this)(DeviceRef(), p_map, i_map, d);
  }
  template <Device D, Operand P, Operand I, Operand E>
  auto operator()(const D& device, const P& p_map, const I& i_map, const E& d) const {
    require_map(kName, p_map);
    const auto sizes = sizes_of(p_map);
    require_shape(kName, "i", sizes_of(i_map), sizes);
    require_shape(kName, "d", sizes_of(d),
                  std::array<Index, 4>{sizes[0], sizes_of(d)[1] == 1 ? 1 : sizes[1], sizes[2], sizes[3]});
    require_parameter(kName, "p.conv.weight", p.conv.weight, {sizes[1], sizes[1], 3, 3});
    require_parameter(kName, "i.conv.weight", i.conv.weight, {sizes[1], sizes[1], 3, 3});
    require_parameter(kName, "out.conv.weight", out.conv.weight, {-1, sizes[1], 3, 3});
    const auto same = ConvOptions::same(3);
    const auto detail_map = p(device, p_map, same);
    const auto context = i(device, i_map, same);
    return out(device, pointwise(heed::detail::GuidedSum(), device, detail_map, context, sigmoid(device, d)), same);
  }

 private:
  static constexpr std::string_view kName = "boundary_guided_fusion";
};

}  // namespace heed::inline HEED_ISA
