// SPDX-License-Identifier: Apache-2.0
// diagonal_attention_loss: how far the diagonals of attention maps are from what they should be.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace detail {
/// (x - target)^2.
struct SquaredDistanceFrom {
  double target = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    const simd::Batch<T> difference = x - simd::Batch<T>(T(target));
    return difference * difference;
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return (x - simd::Batch<T>(T(target))) * simd::Batch<T>(T(2));
  }
};
}  // namespace detail

/// loss = mean over n of (d_(L-1)[n] - local_target)^2 + mean over n of (d_(S-1)[n] - global_target)^2, where d_s[n] is
/// the mean over the batch and the heads of attention[b, s, h, n, n] and L is num_layers: the last map of a local
/// encoder and of a global one, whose maps follow each other along S.
///
///   auto loss = heed::DiagonalAttentionLoss{{.num_layers = 2}}(attention);
///
/// attention (B, S, H, N, N), any strides; loss (1). Reads the two diagonals alone. Throws heed::Error for shapes and
/// options that do not fit, and for empty maps. Source: Zhang et al. 2025 (DSAML), the authors' training code.
struct DiagonalAttentionLoss {
  struct Options {
    Index num_layers = 1;  ///< 1 to S
    double local_target = 0.9;
    double global_target = 0.1;
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& attention) const {
    return (*this)(DeviceRef(), attention);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& attention) const {
    static_assert(kOperandRank<X> == 5, "heed::DiagonalAttentionLoss: attention is (B, S, H, N, N)");
    constexpr std::string_view name = "diagonal_attention_loss";
    const auto sizes = sizes_of(attention);
    require(sizes[3] == sizes[4] && sizes[0] > 0 && sizes[2] > 0 && sizes[3] > 0, name,
            "attention must have shape (B, S, H, N, N) with elements, got ", shape_text(sizes));
    require(options.num_layers > 0 && options.num_layers <= sizes[1], name, "num_layers must be 1 to S = ", sizes[1],
            ", got ", options.num_layers);
    return add(device, term(device, attention, options.num_layers - 1, options.local_target),
               term(device, attention, sizes[1] - 1, options.global_target));
  }

 private:
  template <class D, class X>
  static auto term(const D& device, const X& attention, Index map, double target) {
    const auto average = mean(device, view(attention).select(1, map).diagonal(2), {0, 1});
    const auto distances = activate(device, detail::SquaredDistanceFrom{target}, view(average).merge(0).merge(0));
    return mean(device, distances, {0});
  }
};

}  // namespace heed::inline HEED_ISA
