// SPDX-License-Identifier: Apache-2.0
// Rows taken from a table by their numbers, and rows added to it.
#pragma once

#include <cstdint>

#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Row i of out = row indices[i] of the table, zeros for a negative index; every other must be in [0, rows of the
/// table).
template <class D, class U, class I, class UO>
void gather_rows(const D& device, const View<const U, 2>& table, const I& indices, const UO& out) {
  const Index width = out.width(), band = std::max<Index>(1, 16384 / std::max<Index>(1, width));
  parallel_for(device, (out.count() + band - 1) / band, [&](Index unit) {
    for (Index i = unit * band; i < std::min(out.count(), (unit + 1) * band); ++i) {
      const Index index = *indices.row(i);
      const U* const from = table.at(std::max<Index>(index, 0));
      U* const to = out.row(i);
      if (index < 0) {
        for (Index c = 0; c < width; ++c) to[c * out.stride()] = U(0);
      } else if (table.stride(1) == 1 && out.stride() == 1) {
        std::copy_n(from, width, to);
      } else {
        for (Index c = 0; c < width; ++c) to[c * out.stride()] = from[c * table.stride(1)];
      }
    }
  });
}

/// Row indices[i] of the table += row i, for all i whose index is not negative. Each row of the table belongs to one
/// unit of work, which adds in the order of i: the same bits for any number of threads. Scratch of 8 bytes for each row
/// of either.
template <Real T, class D, class U, class I, class R>
void scatter_add_rows(const D& device, const R& rows, const I& indices, const View<U, 2>& table) {
  const Index count = rows.count(), width = rows.width(), entries = table.size(0);
  ScratchFrame shared;
  // Sorted by index, those of one index in their order: of index v they stand at [start[v], start[v + 1]).
  Index* const start = shared.take<Index>(entries + 2);
  Index* const order = shared.take<Index>(count);
  std::fill_n(start, entries + 2, Index(0));
  for (Index i = 0; i < count; ++i)
    if (*indices.row(i) >= 0) ++start[*indices.row(i) + 2];
  for (Index v = 0; v < entries; ++v) start[v + 2] += start[v + 1];
  for (Index i = 0; i < count; ++i)
    if (*indices.row(i) >= 0) order[start[*indices.row(i) + 1]++] = i;

  const Index band = (entries + 255) / 256;
  parallel_for(device, (entries + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index v = unit * band; v < std::min(entries, (unit + 1) * band); ++v) {
      if (start[v] == start[v + 1]) continue;
      T* const sum = packed_sum<T>(table.at(v), table.stride(1), width, made);
      for (Index i = start[v]; i < start[v + 1]; ++i) {
        const T* const row = packed<T>(rows.row(order[i]), rows.stride(), width, copy);
        for_lanes<T>(width, [&](Index c, auto lanes) {
          simd::store_partial<T>(load_lanes<T>(sum + c, lanes) + load_lanes<T>(row + c, lanes), sum + c, lanes);
        });
      }
      put<T>(sum, width, table.at(v), table.stride(1));
    }
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
