// SPDX-License-Identifier: Apache-2.0
// RotaryPositionEmbedding: positions as rotations of pairs of channels.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// Rotates every pair (u, v) of the first r = rotary_dim channels of x by angle = position * frequency:
///   (u, v) -> a (u cos - v sin, v cos + u sin),   frequency(c) = base^(-2c/r), stretched by `scaling`.
/// After it, the product of a query and a key depends on the difference of their positions alone.
///
///   RotaryPositionEmbedding rope{{.base = 5e5}};
///   auto out = rope(x, positions);                          // x (B, H, N, D), positions (B, N) int32
///   rope(device, x, positions, into(x));                    // in place
///   const auto table = rope.table<float>(D, 4096);          // cosines and sines once, for many calls
///   rope(device, q, positions, table, into(q));
///   Var y = rope(device, var, positions, table);            // recorded; the table must outlive the recording
///
/// x has any strides, and float, double, bfloat16 or half storage, computed in float or double; ranks 3 and 2 stand for
/// (H, N, D) and (N, D). positions has the shape (B, N), or (N) for all batches alike; they may be negative. Channels
/// from r on pass through. Angles are made in double and then rounded, so that float stays accurate at position 10^5
/// and beyond. Options and their ranges: RotaryOptions. Throws heed::Error, before anything is written, for a
/// rotary_dim that is odd or beyond D, for r = 2 with the ntk scalings, options out of range, positions outside of a
/// given table, and shapes that do not fit. Empty x: nothing. Cost O(B H N r), and r/2 sines and cosines per distinct
/// position when no table is given. The bits do not depend on the device.
/// Source: Su et al. 2021 (RoFormer), eq. 34; scalings as in Hugging Face's rope utilities; Peng et al. 2023 (YaRN).
struct RotaryPositionEmbedding {
  using Options = RotaryOptions;
  Options options = {};

  template <Operand X, TensorLike P>
  auto operator()(const X& x, const P& positions) const {
    return (*this)(Eigen::DefaultDevice(), x, positions);
  }
  template <Device D, Operand X, TensorLike P>
  auto operator()(const D& device, const X& x, const P& positions) const {
    check_ranks<P, kOperandRank<X>, kOperandRank<X>>();
    return rotate(device, x, const_view(positions).template promote<2>(), options, kName);
  }
  template <Device D, Operand X, TensorLike P>
  auto operator()(const D& device, const X& x, const P& positions,
                  const RotaryTable<Compute<OperandScalar<X>>>& table) const {
    check_ranks<P, kOperandRank<X>, kOperandRank<X>>();
    return rotate(device, x, const_view(positions).template promote<2>(), options, table, kName);
  }
  template <TensorLike X, TensorLike P, class UO, int Rank, class L>
  void operator()(const X& x, const P& positions, const Into<UO, Rank, L>& target) const {
    (*this)(Eigen::DefaultDevice(), x, positions, target);
  }
  template <Device D, TensorLike X, TensorLike P, class UO, int Rank, class L>
  void operator()(const D& device, const X& x, const P& positions, const Into<UO, Rank, L>& target) const {
    check_ranks<P, kRankOf<X>, Rank>();
    rotate(device, const_view(x).template promote<4>(), const_view(positions).template promote<2>(), options,
           target.out.template promote<4>(), kName);
  }
  template <Device D, TensorLike X, TensorLike P, class UO, int Rank, class L>
  void operator()(const D& device, const X& x, const P& positions, const RotaryTable<Compute<ScalarOf<X>>>& table,
                  const Into<UO, Rank, L>& target) const {
    check_ranks<P, kRankOf<X>, Rank>();
    rotate(device, const_view(x).template promote<4>(), const_view(positions).template promote<2>(), options, table,
           target.out.template promote<4>(), kName);
  }

  /// Cosines and sines of positions 0 .. positions-1 for x of width D. dynamic_ntk takes `positions` as the longest
  /// context.
  template <Real T>
  RotaryTable<T> table(Index width, Index positions) const {
    return rotary_table<T>(options, width, positions);
  }

 private:
  static constexpr std::string_view kName = "rotary_position_embedding";

  template <class P, int RankX, int Rank>
  static void check_ranks() {
    static_assert(RankX == Rank && Rank >= 2 && Rank <= 4,
                  "heed: x and out must have the same rank: (B, H, N, D), (H, N, D) or (N, D)");
    static_assert(kRankOf<P> <= 2 && std::same_as<ScalarOf<P>, std::int32_t>,
                  "heed: positions must hold std::int32_t, of shape (B, N) or (N)");
  }
};

}  // namespace heed::inline HEED_ISA
