// SPDX-License-Identifier: Apache-2.0
// triplet_attention: the spatial gate over all three pairs of axes.
#pragma once

#include "heed/channel/spatial_gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x times the mean of its factors.
struct MeanGate {
  static constexpr std::string_view kName = "triplet_attention";
  template <Real T, class... B>
  simd::Batch<T> value(simd::Batch<T> x, B... factor) const {
    return x * ((factor + ...) * simd::Batch<T>(T(1) / T(sizeof...(B))));
  }
  template <int Operand, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, B... factor) const {
    const simd::Batch<T> share(T(1) / T(sizeof...(B)));
    if constexpr (Operand == 0) {
      return d * ((factor + ...) * share);
    } else {
      return d * (x * share);
    }
  }
};

}  // namespace detail

/// out = x * (g_cw + g_hc + g_hw) / 3, or without g_hw the mean of two (`no_spatial`): the factors of spatial_gate with
/// a norm over x, pooled over the rows (a map of channels by columns), over the columns (rows by channels) and over the
/// channels.
///
/// x (B, C, h, w), out as x; for each of cw, hc and hw, conv.weight (1, 2, k, k) with odd k and
/// bn.{weight,bias,mean,var} (1). Throws heed::Error for shapes that do not fit and a map without positions. Reads x
/// once per factor and statistic and once more, and writes it once. The same bits for any number of threads. Source:
/// Misra et al. 2021.
template <Real T>
struct TripletAttention {
  struct Options {
    bool no_spatial = false;
  };

  Options options = {};
  SpatialGate<T> cw = {}, hc = {}, hw = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "cw.", cw, "hc.", hc);
    if (options.no_spatial) {
      visit_part("hw.", hw, f, heed::optional);
    } else {
      visit_part("hw.", hw, f);
    }
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map("triplet_attention", x);
    const auto by_rows = cw.factor(device, view(x).permute({0, 2, 1, 3}));
    const auto by_columns = hc.factor(device, view(x).permute({0, 3, 2, 1}));
    const auto a = view(by_rows).permute({0, 2, 1, 3});
    const auto b = view(by_columns).permute({0, 3, 2, 1});
    if (options.no_spatial) return pointwise(detail::MeanGate(), device, x, a, b);
    return pointwise(detail::MeanGate(), device, x, a, b, hw.factor(device, x));
  }
};

}  // namespace heed::inline HEED_ISA
