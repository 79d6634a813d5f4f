// SPDX-License-Identifier: Apache-2.0
// band_product: a short convolution along the channels of vectors, with a kernel for each channel or one for all.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/scratch.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class Z, class W>
void check_band_product(const Z& z, const W& weight) {
  static_assert(kOperandRank<Z> == 2 && kOperandRank<W> == 2, "heed::band_product: z is (B, C) and weight (C, k)");
  const auto sizes = sizes_of(weight);
  require((sizes[0] == sizes_of(z)[1] || sizes[0] == 1) && sizes[1] % 2 == 1, "band_product",
          "weight must have shape (C, k) or (1, k) with C = ", sizes_of(z)[1], " and odd k, got ", shape_text(sizes));
}

// Calls f(b, c, kernel, tap, source) for every product.
template <class F>
void for_each_in_band(Index batch, Index channels, const std::array<Index, 2>& weight, const F& f) {
  const Index half = weight[1] / 2;
  for (Index b = 0; b < batch; ++b)
    for (Index c = 0; c < channels; ++c)
      for (Index tap = std::max<Index>(0, half - c); tap < std::min(weight[1], channels + half - c); ++tap)
        f(b, c, weight[0] == 1 ? 0 : c, tap, c + tap - half);
}

}  // namespace detail

/// out(b, c) = sum over j of weight(c, j) z(b, c + j - (k - 1) / 2), z being 0 outside of the channels: z (B, C),
/// weight (C, k), or (1, k) for all channels, with odd k, which may exceed C. Taps in order, on the calling thread.
/// Throws heed::Error for shapes that do not fit. Time O(B C k).
///
/// Gradient: of z and weight, band_product_backward.
template <TensorLike Z, TensorLike W, TensorLike O>
void band_product_into(const Z& z, const W& weight, O&& out) {
  using T = Compute<ScalarOf<Z>>;
  detail::check_band_product(z, weight);
  const auto from = const_view(z);
  const auto w = const_view(weight);
  const auto to = view(out);
  require_shape("band_product", "out", to.sizes, from.sizes);
  ScratchFrame frame;
  T* const sums = frame.take<T>(to.count());
  std::fill_n(sums, to.count(), T(0));
  detail::for_each_in_band(from.size(0), from.size(1), w.sizes,
                           [&](Index b, Index c, Index kernel, Index tap, Index source) {
                             sums[b * to.size(1) + c] += T(w(kernel, tap)) * T(from(b, source));
                           });
  for (Index b = 0; b < to.size(0); ++b)
    for (Index c = 0; c < to.size(1); ++c) to(b, c) = static_cast<ScalarOf<O>>(sums[b * to.size(1) + c]);
}
template <TensorLike Z, TensorLike W>
auto band_product(const Z& z, const W& weight) {
  Tensor<ScalarOf<Z>, 2> out(const_view(z).sizes);
  band_product_into(z, weight, out);
  return out;
}

/// The gradients of band_product, added to d_z and d_weight; one of null data is not wanted.
template <Real T>
void band_product_backward(const View<const T, 2>& z, const View<const T, 2>& weight, const View<const T, 2>& d_out,
                           const View<T, 2>& d_z, const View<T, 2>& d_weight) {
  detail::for_each_in_band(z.size(0), z.size(1), weight.sizes,
                           [&](Index b, Index c, Index kernel, Index tap, Index source) {
                             if (d_z.data) d_z(b, source) += weight(kernel, tap) * d_out(b, c);
                             if (d_weight.data) d_weight(kernel, tap) += z(b, source) * d_out(b, c);
                           });
}

}  // namespace heed::inline HEED_ISA
