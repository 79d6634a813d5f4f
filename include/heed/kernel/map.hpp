// SPDX-License-Identifier: Apache-2.0
// Elementwise maps of any number of tensors of one shape, of any strides and storage.
#pragma once

#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// How many of the last axes lie as one in each of the views.
template <int Rank, class... Views>
int merged_axes(const Views&... views) {
  const auto joined = [](const auto& view, int axis) {
    return view.size(axis) == 1 || view.stride(axis) == view.size(axis + 1) * view.stride(axis + 1);
  };
  int merged = 1;
  while (merged < Rank && (joined(views, Rank - 1 - merged) && ...)) ++merged;
  return merged;
}

}  // namespace detail

/// out(i) = f(in(i)...), where f takes and gives batches of T. An input may be out itself, of the same strides, so that
/// f adds to what is there. An element has the same bits wherever it stands.
template <Real T, class D, class F, class UO, int Rank, class... U>
void map(const D& device, const F& f, const View<UO, Rank>& out, const View<const U, Rank>&... in) {
  constexpr Index kPiece = 1024;  // elements of a row that are copied at a time where they are not contiguous T
  constexpr Index kUnit = 8192;   // elements that make a unit of work, a few microseconds
  if (out.count() == 0) return;
  const int merged = detail::merged_axes<Rank>(out, in...);
  const Rows<UO, Rank> target(out, merged);
  const Index width = target.width(), rows = target.count();
  const Index unit_width = std::min(width, kUnit), pieces = (width + unit_width - 1) / unit_width;
  const Index unit_rows = std::max<Index>(1, kUnit / width), bands = (rows + unit_rows - 1) / unit_rows;

  const auto run = [&](const Rows<const U, Rank>&... from) {
    parallel_for(device, bands * pieces, [&](Index unit) {
      ScratchFrame frame;
      T* const made = frame.take<T>(kPiece);
      const std::array<T*, sizeof...(U)> copies{((void)from, frame.take<T>(kPiece))...};
      const Index first = unit % pieces * unit_width, end = std::min(width, first + unit_width);
      const Index row = unit / pieces * unit_rows, last = std::min(rows, row + unit_rows);
      for (Index r = row; r < last; ++r)
        for (Index i = first; i < end; i += kPiece) {
          const Index count = std::min(kPiece, end - i);
          UO* const to = target.row(r) + i * target.stride();
          T* const result = packed_target<T>(to, target.stride(), made);
          std::size_t input = 0;
          // Braces: the inputs are taken in order.
          const std::array<const T*, sizeof...(U)> x{
              packed<T>(from.row(r) + i * from.stride(), from.stride(), count, copies[input++])...};
          for_lanes<T>(count, [&](Index j, auto lanes) {
            const simd::Batch<T> y = [&]<std::size_t... I>(std::index_sequence<I...>) {
              return f(load_lanes<T>(x[I] + j, lanes)...);
            }
            (std::index_sequence_for<U...>());
            simd::store_partial<T>(y, result + j, lanes);
          });
          put<T>(result, count, to, target.stride());
        }
    });
  };
  run(Rows<const U, Rank>(in, merged)...);
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
