// SPDX-License-Identifier: Apache-2.0
// nsa_selection_scores: from the weights of compressed blocks to the scores of the blocks to select.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out[j] = sum over m < L / d and r < l / d of x[(L / d) j + m - r], terms outside of 0 .. W - 1 being 0, summed over
/// the heads of a group: a compressed block counts once for each piece of d tokens that it shares with block j.
///
///   heed::NsaSelectionScores score{{.block_size = 32, .stride = 16, .select_block_size = 64, .group_size = 4,
///                                   .num_select_blocks = 64}};
///   auto p_slc = score(p_cmp);                              // or score(device, p_cmp)
///
/// x (B, H, T, W), the weights of compressed blocks of l = block_size tokens, d = stride apart; out (B, H / group_size,
/// T, num_select_blocks), of blocks of L = select_block_size. d divides l and L. Throws heed::Error for shapes and
/// options that do not fit. Time O(B H T W num_select_blocks).
/// Source: Yuan et al. 2025, Native Sparse Attention, eq. 9 and 10, with blocks from 0 on (transcription).
struct NsaSelectionScores {
  struct Options {
    Index block_size = 32;         ///< l
    Index stride = 16;             ///< d
    Index select_block_size = 64;  ///< L
    Index group_size = 1;          ///< G, divides the heads
    Index num_select_blocks = 1;   ///< n, 0 or more
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::NsaSelectionScores: x is (B, H, T, W)");
    using T = OperandScalar<X>;
    const Index width = sizes_of(x)[3], blocks = options.num_select_blocks;
    check(sizes_of(x)[1]);
    const Index pieces = options.select_block_size / options.stride, reach = options.block_size / options.stride;
    Tensor<T, 4> counts(1, 1, width, blocks);
    counts.setZero();
    for (Index j = 0; j < blocks; ++j)
      for (Index m = 0; m < pieces; ++m)
        for (Index r = 0; r < reach; ++r) {
          const Index w = pieces * j + m - r;
          if (w >= 0 && w < width) counts(0, 0, w, j) += T(1);
        }
    const auto map = constant_with(std::move(counts), x);
    const auto by_head = matmul(device, x, map);
    const auto by_group = sum(device, view(by_head).split(1, options.group_size), {2});
    return contiguous(device, view(by_group).select(2, 0));
  }

 private:
  static constexpr std::string_view kName = "nsa_selection_scores";

  void check(Index heads) const {
    const Options& o = options;
    require(o.stride > 0 && o.block_size > 0 && o.select_block_size > 0 && o.block_size % o.stride == 0 &&
                o.select_block_size % o.stride == 0,
            kName, "stride = ", o.stride, " must divide block_size = ", o.block_size,
            " and select_block_size = ", o.select_block_size);
    require(o.group_size > 0 && heads % o.group_size == 0 && o.num_select_blocks >= 0, kName,
            "group_size = ", o.group_size, " must divide the heads, ", heads,
            ", and num_select_blocks be 0 or more, got ", o.num_select_blocks);
  }
};

}  // namespace heed::inline HEED_ISA
