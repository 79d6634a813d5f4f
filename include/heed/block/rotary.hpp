// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding as a block: tables of cosines and sines, and the rotation of strided rows by them.
#pragma once

#include <cstdint>
#include <tuple>

#include "heed/block/rotary_frequencies.hpp"
#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/write.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/unzip.hpp"

namespace heed::inline HEED_ISA {

/// Cosines and sines of positions 0, 1, .. for every pair of channels, (positions, r/2) each, the attention factor
/// multiplied in. Made once by rotary_table and read by any number of calls.
template <Real T>
struct RotaryTable {
  Tensor<T, 2> cos, sin;
};

namespace detail {

/// Rows of cosines and sines, one after the other.
template <Real T>
struct RotaryRows {
  const T* cos = nullptr;
  const T* sin = nullptr;
  Index pairs = 0;
};

template <Real T>
struct RotaryScratch {
  T* cos = nullptr;
  T* sin = nullptr;
  RotaryScratch(ScratchFrame& frame, Index rows, Index pairs)
      : cos(frame.take<T>(rows * pairs)), sin(frame.take<T>(rows * pairs)) {}
};

/// Fills `count` rows with length * cosine and sine of position(row): angles in double, then rounded.
template <Device D, Real T, class Position>
void fill_rotary(const D& device, const RotaryFrequencies& frequencies, double length, Index count, Position&& position,
                 T* cos, T* sin) {
  ScratchFrame frame;
  const Index pairs = frequencies.pairs();
  double* omega = frame.take<double>(pairs);
  for (Index c = 0; c < pairs; ++c) omega[c] = frequencies.frequency(c);
  constexpr Index kRows = 16;
  parallel_for(device, (count + kRows - 1) / kRows, [&](Index unit) {
    for (Index row = unit * kRows; row < std::min(count, (unit + 1) * kRows); ++row)
      for (Index c = 0; c < pairs; ++c) {
        const double angle = double(position(row)) * omega[c];
        cos[row * pairs + c] = T(length * std::cos(angle));
        sin[row * pairs + c] = T(length * std::sin(angle));
      }
  });
}

/// Fills rows for positions 0 .. count-1 by the sum of two angles, one of whole blocks of 64 and one within: 2 sines
/// and cosines per 64 rows and pair where fill_rotary takes 128, and at most 3e-16 from the exact values. It is for
/// tables that are made anew in every call, as those of positions within a cache.
template <Device D, Real T>
void fill_rotary_ranks(const D& device, const RotaryFrequencies& frequencies, Index count, T* cos, T* sin) {
  constexpr Index kBlock = 64;
  ScratchFrame frame;
  const Index pairs = frequencies.pairs(), within = std::min(count, kBlock);
  const RotaryScratch<double> fine(frame, within, pairs);
  fill_rotary(
      device, frequencies, frequencies.attention_factor(), within, [](Index row) { return row; }, fine.cos, fine.sin);
  const Index blocks = (count + kBlock - 1) / kBlock;
  const RotaryScratch<double> coarse(frame, blocks, pairs);
  fill_rotary(
      device, frequencies, 1, blocks, [](Index block) { return block * kBlock; }, coarse.cos, coarse.sin);
  parallel_for(device, blocks, [&](Index block) {
    for (Index row = block * kBlock; row < std::min(count, (block + 1) * kBlock); ++row)
      for (Index c = 0; c < pairs; ++c) {
        const double cb = coarse.cos[block * pairs + c], sb = coarse.sin[block * pairs + c];
        const Index f = (row - block * kBlock) * pairs + c;
        cos[row * pairs + c] = T(cb * fine.cos[f] - sb * fine.sin[f]);
        sin[row * pairs + c] = T(sb * fine.cos[f] + cb * fine.sin[f]);
      }
  });
}

template <Real T, class U>
HEED_INLINE simd::Batch<T> load_some(const U* address, Index count) {
  return count >= simd::kLanes<T> ? simd::load_as<T>(address) : simd::load_partial<T>(address, count);
}

/// (u, v) to (u cos - v sin, v cos + u sin) for all pairs of a contiguous row; out may be x. sign -1 rotates back.
template <kernel::Write write, bool kInterleaved, Real T, class UX, class UO>
HEED_NOINLINE void rotate_pairs(const UX* x, const T* cos, const T* sin, T sign, Index pairs, UO* out) {
  using simd::Batch;
  constexpr Index w = simd::kLanes<T>;
  const auto put = [](Batch<T> value, UO* address, Index n) {
    if constexpr (write == kernel::Write::kAdd) value = load_some<T>(address, n) + value;
    simd::store_partial<T>(value, address, n);
  };
  for (Index c = 0; c < pairs; c += w) {
    const Index count = std::min(w, pairs - c);
    Batch<T> u, v;
    if constexpr (kInterleaved) {
      const UX* pair = x + 2 * c;
      const Batch<T> low = load_some<T>(pair, 2 * count);
      const Batch<T> high = 2 * count > w ? load_some<T>(pair + w, 2 * count - w) : Batch<T>(T(0));
      std::tie(u, v) = simd::unzip<T>(low, high);
    } else {
      u = load_some<T>(x + c, count);
      v = load_some<T>(x + pairs + c, count);
    }
    const Batch<T> cs = load_some<T>(cos + c, count), sn = load_some<T>(sin + c, count) * Batch<T>(sign);
    const Batch<T> first = simd::fma(u, cs, -(v * sn)), second = simd::fma(v, cs, u * sn);
    if constexpr (kInterleaved) {
      const auto [low, high] = simd::zip<T>(first, second);
      put(low, out + 2 * c, std::min(w, 2 * count));
      if (2 * count > w) put(high, out + 2 * c + w, 2 * count - w);
    } else {
      put(first, out + c, count);
      put(second, out + pairs + c, count);
    }
  }
}

/// The same for a row of any inner strides, with its channels beyond the pairs passed through.
template <Real T, kernel::Write write = kernel::Write::kAssign, class UX, class UO>
void rotate_row(const UX* x, Index x_inner, Index width, const RotaryRows<T>& angles, Index row, bool interleaved,
                T sign, UO* out, Index out_inner) {
  const Index pairs = angles.pairs;
  const T* cos = angles.cos + row * pairs;
  const T* sin = angles.sin + row * pairs;
  const auto rotate = [&]<kernel::Write mode>(const auto* from, auto* to) {
    if (interleaved) {
      rotate_pairs<mode, true, T>(from, cos, sin, sign, pairs, to);
    } else {
      rotate_pairs<mode, false, T>(from, cos, sin, sign, pairs, to);
    }
  };
  const auto put = [&](T value, Index d) {
    UO& target = out[d * out_inner];
    target = static_cast<UO>(write == kernel::Write::kAdd ? simd::widen<T>(target) + value : value);
  };
  if (x_inner == 1 && out_inner == 1) {
    rotate.template operator()<write>(x, out);
  } else {
    ScratchFrame frame;
    T* dense = frame.take<T>(2 * pairs);
    for (Index d = 0; d < 2 * pairs; ++d) dense[d] = simd::widen<T>(x[d * x_inner]);
    rotate.template operator()<kernel::Write::kAssign>(dense, dense);
    for (Index d = 0; d < 2 * pairs; ++d) put(dense[d], d);
  }
  if (static_cast<const void*>(x) == static_cast<const void*>(out) && x_inner == out_inner) return;
  for (Index d = 2 * pairs; d < width; ++d) put(simd::widen<T>(x[d * x_inner]), d);
}

template <kernel::Write write = kernel::Write::kAssign, Device D, Real T, class UX, class UO, class Row>
void rotate_rows(const D& device, const View<const UX, 4>& x, const RotaryRows<T>& angles, Row&& row, bool interleaved,
                 bool inverse, const View<UO, 4>& out) {
  constexpr Index kRows = 64;
  const Index heads = x.size(1), tokens = x.size(2), units = (tokens + kRows - 1) / kRows;
  parallel_for(device, x.size(0) * heads * units, [&](Index unit) {
    const Index b = unit / units / heads, h = unit / units % heads, first = unit % units * kRows;
    for (Index i = first; i < std::min(tokens, first + kRows); ++i)
      rotate_row<T, write>(x.at(b, h, i), x.stride(3), x.size(3), angles, row(b, i), interleaved,
                           inverse ? T(-1) : T(1), out.at(b, h, i), out.stride(3));
  });
}

template <class UX, class UO>
View<const std::int32_t, 2> check_rotation(const View<const UX, 4>& x, const View<const std::int32_t, 2>& positions,
                                           const View<UO, 4>& out, std::string_view where) {
  require(out.sizes == x.sizes, where, "out must have the shape of x, ", shape_text(x.sizes), ", got ",
          shape_text(out.sizes));
  return positions.broadcast({x.size(0), x.size(2)}, where, "positions (B, N)");
}

}  // namespace detail

/// The table of positions 0 .. positions-1 for channels of width D. kDynamicNtk takes `positions` as the longest
/// context. Cost: positions * r/2 sines and cosines in double.
template <Real T>
RotaryTable<T> rotary_table(const RotaryOptions& options, Index width, Index positions) {
  require(positions >= 0, "rotary_table", "the number of positions must be 0 or more, got ", positions);
  const RotaryFrequencies frequencies(options, width, positions, "rotary_table");
  RotaryTable<T> table{Tensor<T, 2>(positions, frequencies.pairs()), Tensor<T, 2>(positions, frequencies.pairs())};
  detail::fill_rotary(
      Eigen::DefaultDevice(), frequencies, frequencies.attention_factor(), positions, [](Index row) { return row; },
      table.cos.data(), table.sin.data());
  return table;
}

/// out = x rotated by its positions: x (B, H, N, D) and out of any strides and storage, positions (B, N) int32 or
/// broadcastable to it. `out` is x itself (the same memory and strides) or apart from it. Every pair (u, v) of the
/// first r channels becomes (u cos - v sin, v cos + u sin) with angle = position * frequency(pair); the others are
/// passed through. Angles are made once for the distinct positions of the call. Throws heed::Error naming `where`.
/// With Write::kAdd it is added to out, which is then apart from x.
///
/// Gradient: of x, rotate_backward, the same rotation backwards.
template <kernel::Write write = kernel::Write::kAssign, Device D, Storage UX, Storage UO>
void rotate(const D& device, const View<const UX, 4>& x, const View<const std::int32_t, 2>& positions,
            const RotaryOptions& options, const View<UO, 4>& out, std::string_view where = "rotate") {
  using T = Compute<UX>;
  const View<const std::int32_t, 2> at = detail::check_rotation(x, positions, out, where);
  ScratchFrame frame;
  const Index batch = at.size(0), tokens = at.size(1);
  std::int32_t* distinct = frame.take<std::int32_t>(batch * tokens);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < tokens; ++i) distinct[b * tokens + i] = at(b, i);
  std::sort(distinct, distinct + batch * tokens);
  std::int32_t* const end = std::unique(distinct, distinct + batch * tokens);
  const Index count = end - distinct;

  const RotaryFrequencies frequencies(options, x.size(3), count > 0 ? Index(end[-1]) + 1 : 0, where);
  const detail::RotaryScratch<T> table(frame, count, frequencies.pairs());
  detail::fill_rotary(
      device, frequencies, frequencies.attention_factor(), count, [&](Index row) { return distinct[row]; }, table.cos,
      table.sin);
  const detail::RotaryRows<T> angles{table.cos, table.sin, frequencies.pairs()};
  const auto row = [&](Index b, Index i) { return Index(std::lower_bound(distinct, end, at(b, i)) - distinct); };
  detail::rotate_rows<write>(device, x, angles, row, options.interleaved, options.inverse, out);
}

/// The same by a table that was made for these options and this width; positions must be in it.
template <kernel::Write write = kernel::Write::kAssign, Device D, Storage UX, Storage UO>
void rotate(const D& device, const View<const UX, 4>& x, const View<const std::int32_t, 2>& positions,
            const RotaryOptions& options, const RotaryTable<Compute<UX>>& table, const View<UO, 4>& out,
            std::string_view where = "rotate") {
  using T = Compute<UX>;
  const View<const std::int32_t, 2> at = detail::check_rotation(x, positions, out, where);
  const RotaryFrequencies frequencies(options, x.size(3), 0, where);
  const Index count = table.cos.dimension(0), pairs = frequencies.pairs();
  require(table.cos.dimension(1) == pairs && table.sin.dimension(0) == count && table.sin.dimension(1) == pairs, where,
          "the table's cos and sin must have shape (positions, ", pairs, "), got ", shape_text(table.cos.dimensions()),
          " and ", shape_text(table.sin.dimensions()));
  for (Index b = 0; b < at.size(0); ++b)
    for (Index i = 0; i < at.size(1); ++i)
      require(at(b, i) >= 0 && at(b, i) < count, where, "position ", at(b, i), " is outside of the table's 0 .. ",
              count - 1);
  const detail::RotaryRows<T> angles{table.cos.data(), table.sin.data(), pairs};
  detail::rotate_rows<write>(
      device, x, angles, [&](Index b, Index i) { return Index(at(b, i)); }, options.interleaved, options.inverse, out);
}

/// x of ranks 2 to 4, (N, D), (H, N, D) or (B, H, N, D), to a new tensor of its shape and type.
template <Device D, TensorLike X>
auto rotate(const D& device, const X& x, const View<const std::int32_t, 2>& positions, const RotaryOptions& options,
            std::string_view where = "rotate") {
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(const_view(x).sizes);
  rotate(device, const_view(x).template promote<4>(), positions, options, view(out).template promote<4>(), where);
  return out;
}
template <Device D, TensorLike X>
auto rotate(const D& device, const X& x, const View<const std::int32_t, 2>& positions, const RotaryOptions& options,
            const RotaryTable<Compute<ScalarOf<X>>>& table, std::string_view where = "rotate") {
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(const_view(x).sizes);
  rotate(device, const_view(x).template promote<4>(), positions, options, table, view(out).template promote<4>(),
         where);
  return out;
}

/// The gradient of rotate, added to d_x: d_out rotated backwards, with the same attention factor. A d_x of null data is
/// not wanted.
template <Device D, Real T>
void rotate_backward(const D& device, const View<const T, 4>& d_out, const View<const std::int32_t, 2>& positions,
                     RotaryOptions options, const View<T, 4>& d_x) {
  if (!d_x.data) return;
  options.inverse = !options.inverse;
  rotate<kernel::Write::kAdd>(device, d_out, positions, options, d_x, "rotate_backward");
}
template <Device D, Real T>
void rotate_backward(const D& device, const View<const T, 4>& d_out, const View<const std::int32_t, 2>& positions,
                     RotaryOptions options, const RotaryTable<T>& table, const View<T, 4>& d_x) {
  if (!d_x.data) return;
  options.inverse = !options.inverse;
  rotate<kernel::Write::kAdd>(device, d_out, positions, options, table, d_x, "rotate_backward");
}

}  // namespace heed::inline HEED_ISA
