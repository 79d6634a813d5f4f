// SPDX-License-Identifier: Apache-2.0
// What a tape is made of: ranges of memory, and the steps of a backward.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The memory between the first and the last element of a view.
template <class T>
struct MemoryRange {
  const T* begin = nullptr;
  const T* end = nullptr;

  template <int Rank>
  explicit MemoryRange(const View<const T, Rank>& view) : begin(view.data), end(view.data + 1) {
    for (int axis = 0; axis < Rank; ++axis) {
      const Index reach = (view.size(axis) - 1) * view.stride(axis);
      (reach < 0 ? begin : end) += reach;
    }
  }
  bool contains(const MemoryRange& other) const {
    return !std::less<const T*>()(other.begin, begin) && !std::less<const T*>()(end, other.end);
  }
  bool operator==(const MemoryRange&) const = default;
  bool operator<(const MemoryRange& other) const {
    return begin != other.begin ? std::less<const T*>()(begin, other.begin) : std::less<const T*>()(end, other.end);
  }
};

/// A step of a backward, with the nodes of the outputs that it starts from. It lies in the tape's arena.
struct Step {
  virtual ~Step() = default;
  virtual void run() = 0;
  virtual std::span<const Index> outputs() const = 0;
};
template <class F, std::size_t N>
struct StepOf final : Step {
  StepOf(F f, const std::array<Index, N>& nodes) : f(std::move(f)), nodes(nodes) {}
  void run() override { f(); }
  std::span<const Index> outputs() const override { return nodes; }
  F f;
  std::array<Index, N> nodes;
};
struct DestroyStep {
  void operator()(Step* step) const { step->~Step(); }  // its memory is the arena's
};
using StepPointer = std::unique_ptr<Step, DestroyStep>;

}  // namespace detail

}  // namespace heed::inline HEED_ISA
