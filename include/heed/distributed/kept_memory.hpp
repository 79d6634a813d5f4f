// SPDX-License-Identifier: Apache-2.0
// Memory of the parts under way, kept from call to call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "heed/core/isa.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

struct KeptBlock {
  std::unique_ptr<std::byte[]> memory;
  std::size_t size = 0;
};

/// The most blocks that a thread keeps: as many as a ring needs at once, forward or backward.
inline constexpr std::size_t kMostKeptBlocks = 8;

inline std::vector<KeptBlock>& kept_blocks() {
  static thread_local std::vector<KeptBlock> blocks = [] {
    std::vector<KeptBlock> none;
    none.reserve(kMostKeptBlocks);
    return none;
  }();
  return blocks;
}

/// An allocator that keeps freed blocks of its thread for the next request of the same size: the parts of a sequence
/// are large, and the system takes the pages of large blocks back each time.
template <class T>
struct KeptMemory {
  using value_type = T;

  KeptMemory() = default;
  template <class U>
  KeptMemory(const KeptMemory<U>&) {}  // NOLINT: implicit

  T* allocate(std::size_t count) {
    const std::size_t size = count * sizeof(T);
    auto& blocks = kept_blocks();
    const auto kept = std::find_if(blocks.begin(), blocks.end(), [&](const auto& block) { return block.size == size; });
    if (kept == blocks.end()) return static_cast<T*>(static_cast<void*>(new std::byte[size]));
    std::byte* const memory = kept->memory.release();
    blocks.erase(kept);
    return static_cast<T*>(static_cast<void*>(memory));
  }
  void deallocate(T* memory, std::size_t count) {
    auto& blocks = kept_blocks();
    if (blocks.size() == kMostKeptBlocks) blocks.erase(blocks.begin());
    blocks.push_back(
        {std::unique_ptr<std::byte[]>(static_cast<std::byte*>(static_cast<void*>(memory))), count * sizeof(T)});
  }
  bool operator==(const KeptMemory&) const { return true; }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
