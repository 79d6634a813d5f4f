// SPDX-License-Identifier: Apache-2.0
// The loops over several views of one shape, with as few axes as their strides allow.
#pragma once

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// The most views that one loop runs over, and the most axes that they have.
inline constexpr std::size_t kLoopViews = 11, kLoopAxes = 9;

/// Columns that a unit of work holds sums of.
inline constexpr Index kSumColumns = 256;
/// Terms that are summed one after the other before they join the total: an error of (128 + n / 128) eps for n.
inline constexpr Index kSumRun = 128;
/// Elements that make a unit of work worth its scheduling.
inline constexpr Index kElementwiseGrain = 16384;
/// Bytes of a result that has left the caches before anybody reads it: half of what server cores share.
inline constexpr std::size_t kStreamBytes = std::size_t(16) << 20;

struct LoopAxis {
  Index size = 1;
  std::array<Index, kLoopViews> strides{};  // of the output, then of the inputs
};

/// The loops over views of one shape, the output first: axes of size 1 left out, and neighbours that lie as one in all
/// views merged. The last axis is the inner one; the others are the output's own (kept) and those on which it has
/// stride 0 (reduced).
struct LoopNest {
  using Offsets = std::array<Index, kLoopViews>;
  struct Axes {
    std::array<LoopAxis, kLoopAxes> axes;
    std::size_t count = 0;
    Index size = 1;

    void add(const LoopAxis& axis) {
      axes[count++] = axis;
      size *= axis.size;
    }
  };

  std::size_t views;
  LoopAxis inner;
  Axes kept, reduced;

  template <std::size_t Rank, std::size_t Views>
  LoopNest(const std::array<Index, Rank>& sizes, const std::array<std::array<Index, Rank>, Views>& strides)
      : views(Views) {
    static_assert(Rank <= kLoopAxes && Views <= kLoopViews);
    std::array<LoopAxis, kLoopAxes> axes;
    for (std::size_t a = 0; a < Rank; ++a) {
      axes[a].size = sizes[a];
      for (std::size_t x = 0; x < Views; ++x) axes[a].strides[x] = strides[x][a];
    }
    arrange(axes, Rank);
  }

  /// Moves `offset` to a row-major position of some axes.
  void advance(Offsets& offset, const Axes& along, Index position) const {
    for (std::size_t a = along.count; a-- > 0 && position > 0;) {
      const Index at = position % along.axes[a].size;
      position /= along.axes[a].size;
      for (std::size_t x = 0; x < views; ++x) offset[x] += at * along.axes[a].strides[x];
    }
  }

 private:
  void arrange(std::array<LoopAxis, kLoopAxes>& axes, std::size_t rank) {
    std::size_t count = 0;
    for (std::size_t a = 0; a < rank; ++a) {
      LoopAxis axis = axes[a];
      if (axis.size == 1) continue;
      bool merges = count > 0;
      for (std::size_t x = 0; merges && x < views; ++x)
        merges = axes[count - 1].strides[x] == axis.size * axis.strides[x];
      if (merges) axis.size *= axes[--count].size;
      axes[count++] = axis;
    }
    if (count > 0) inner = axes[--count];
    for (std::size_t a = 0; a < count; ++a) (axes[a].strides[0] == 0 ? reduced : kept).add(axes[a]);
  }
};

}  // namespace detail

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
