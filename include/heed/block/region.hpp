// SPDX-License-Identifier: Apache-2.0
// Regions of a map: its positions ordered so that those of a region are consecutive, and back.
#pragma once

#include "heed/block/concat.hpp"

namespace heed::inline HEED_ISA {

/// x (B, h, w, C), padded by zeros at the bottom and the right to (B, height, width, C).
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto pad_map(const D& device, const X& x, Index height, Index width) {
  static_assert(kOperandRank<X> == 4, "heed::pad_map: x is (B, h, w, C)");
  auto sizes = sizes_of(x);
  require(height >= sizes[1] && width >= sizes[2], "pad_map", "a map of shape ", shape_text(sizes),
          " cannot be padded to ", height, " x ", width);
  sizes[1] = height;
  sizes[2] = width;
  Tensor<OperandScalar<X>, 4> zeros(sizes[0], height, width, sizes[3]);
  zeros.setZero();
  const auto blank = constant_with(std::move(zeros), x);
  const Index h = sizes_of(x)[1], w = sizes_of(x)[2];
  const auto rows = concat<2>(device, x, view(blank).slice(1, 0, h).slice(2, 0, width - w));
  return concat<1>(device, rows, view(blank).slice(1, 0, height - h));
}

/// x (B, h, w, C) as (B, regions, tokens of a region, C), regions of rh x rw in row-major order, and so are their
/// positions. Throws heed::Error unless rh and rw divide the map.
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto to_regions(const D& device, const X& x, Index rh, Index rw) {
  static_assert(kOperandRank<X> == 4, "heed::to_regions: x is (B, h, w, C)");
  const auto sizes = sizes_of(x);
  require(rh > 0 && rw > 0 && sizes[1] % rh == 0 && sizes[2] % rw == 0, "to_regions", "regions of ", rh, " x ", rw,
          " must divide a map of shape ", shape_text(sizes));
  auto out =
      make_output<OperandScalar<X>, 4>("to_regions", {sizes[0], sizes[1] / rh * (sizes[2] / rw), rh * rw, sizes[3]}, x);
  concat_into<0>(device, view(out).split(1, std::max<Index>(1, sizes[2] / rw)).split(3, rw),
                 view(x).split(1, rh).split(3, rw).permute({0, 1, 3, 2, 4, 5}));
  return out;
}

/// The map (B, h, w, C) of regions (B, regions, rh rw, C), `across` of them in a row.
///
/// Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto from_regions(const D& device, const X& x, Index across, Index rw) {
  static_assert(kOperandRank<X> == 4, "heed::from_regions: x is (B, regions, tokens, C)");
  const auto sizes = sizes_of(x);
  require(across > 0 && rw > 0 && sizes[1] % across == 0 && sizes[2] % rw == 0, "from_regions", "regions of shape ",
          shape_text(sizes), " must be rows of ", across, " and of width ", rw);
  const Index rh = sizes[2] / rw;
  auto out =
      make_output<OperandScalar<X>, 4>("from_regions", {sizes[0], sizes[1] / across * rh, across * rw, sizes[3]}, x);
  concat_into<0>(device, view(out).split(1, std::max<Index>(1, rh)).split(3, rw).permute({0, 1, 3, 2, 4, 5}),
                 view(x).split(1, across).split(3, rw));
  return out;
}

}  // namespace heed::inline HEED_ISA
