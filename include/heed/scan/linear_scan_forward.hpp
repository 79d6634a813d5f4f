// SPDX-License-Identifier: Apache-2.0
// linear_scan of one key head, chunk by chunk or token by token.
#pragma once

#include "heed/scan/linear_scan_chunk.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <Real T>
kernel::Tile<T> first_state(ScratchFrame& frame, const ScanHead<T>& head) {
  const auto state = make_tile<T>(frame, head.features(), head.width());
  if (head.start.data)
    kernel::copy_rows<T>(head.start.data, head.start.stride(0), head.start.stride(1), head.features(), head.width(),
                         state.data, state.stride);
  return state;
}

/// Writes rows of a tile to a view of any strides.
template <Real T>
void write_rows(const kernel::Tile<T>& tile, const View<T, 2>& to) {
  for (Index i = 0; i < to.size(0); ++i) {
    T* const target = to.at(i);
    if (to.stride(1) == 1) {
      std::copy_n(tile.row(i), to.size(1), target);
    } else {
      for (Index c = 0; c < to.size(1); ++c) target[c * to.stride(1)] = tile.row(i)[c];
    }
  }
}

/// out (G, N, W), end (D, W) or of null data.
template <Real T>
void scan_chunks(const ScanHead<T>& head, Index capacity, const View<T, 3>& out, const View<T, 2>& end) {
  ScratchFrame frame;
  ScanChunk<T> chunk(frame, head, capacity);
  const auto state = first_state(frame, head), y = make_tile<T>(frame, capacity, head.width());
  for (Index first = 0; first < head.tokens(); first += capacity) {
    chunk.load(first, std::min(capacity, head.tokens() - first));
    chunk.correct(state);
    for (Index g = 0; g < head.groups(); ++g) {
      chunk.read_state(chunk.delta + g, state, y);
      write_rows(y, out.select(0, g).slice(0, first, chunk.count));
    }
    if (end.data || first + capacity < head.tokens()) chunk.advance(state);
  }
  if (end.data) write_rows(state, end);
}

template <Real T>
void scan_tokens(const ScanHead<T>& head, const View<T, 3>& out, const View<T, 2>& end) {
  using kernel::Scalars;
  using kernel::Tile;
  ScratchFrame frame;
  const Index features = head.features(), width = head.width(), groups = head.groups();
  const auto state = first_state(frame, head);
  const auto k = make_tile<T>(frame, 1, features), q = make_tile<T>(frame, groups, features),
             decay = make_tile<T>(frame, 1, features), x = make_tile<T>(frame, 1, width),
             read = make_tile<T>(frame, 1, width), y = make_tile<T>(frame, groups, width);
  for (Index t = 0; t < head.tokens(); ++t) {
    kernel::copy_rows<T>(head.k.at(t), 0, head.k.stride(1), 1, features, k.data, 0);
    kernel::copy_rows<T>(head.v.at(t), 0, head.v.stride(1), 1, head.v.size(1), x.data, 0);
    kernel::copy_rows<T>(head.q.at(0, t), head.q.stride(0), head.q.stride(2), groups, features, q.data, q.stride);
    if (head.ones) x.data[width - 1] = 1;
    if (head.kind != DecayKind::kNone) {
      const T* const logarithms = head.decay.at(head.decay.size(0) == 1 ? 0 : t);
      const bool channels = head.kind == DecayKind::kPerChannel;
      kernel::copy_rows<T>(logarithms, 0, channels ? head.decay.stride(1) : 0, 1, features, decay.data, 0);
      for (Index d = 0; d < features; d += simd::kLanes<T>)
        simd::exp<T>(simd::load_aligned(decay.data + d)).store_aligned(decay.data + d);
      for (Index d = 0; d < features; ++d) product_row(state.row(d), decay.data[d], state.stride, state.row(d));
    }
    if (head.beta.data) {
      kernel::tile_product(Scalars<T>(k), 1, features, state, width, read);
      for (Index c = 0; c < width; ++c)
        x.data[c] = head.beta(t, head.beta.size(1) == 1 ? 0 : c) * (x.data[c] - read.data[c]);
    }
    for (Index d = 0; d < features; ++d) add_row(x.data, k.data[d], state.stride, state.row(d));
    kernel::tile_product(Scalars<T>(q), groups, features, state, width, y);
    for (Index g = 0; g < groups; ++g)
      for (Index c = 0; c < width; ++c) out(g, t, c) = T(head.scale) * y.row(g)[c];
  }
  if (end.data) write_rows(state, end);
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
