// SPDX-License-Identifier: Apache-2.0
// Per-thread scratch memory that grows to what the largest call needed and is then reused.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr std::size_t kScratchAlignment = 64;

struct ScratchDeleter {
  void operator()(std::byte* block) const { ::operator delete(block, std::align_val_t(kScratchAlignment)); }
};

struct ScratchArena {
  struct Block {
    std::unique_ptr<std::byte, ScratchDeleter> memory;
    std::size_t size = 0;
  };
  std::vector<Block> blocks;
  std::size_t used = 0;  // bytes taken from blocks.back()
  int frames = 0;

  std::byte* take(std::size_t bytes) {
    bytes = (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
    if (blocks.empty() || used + bytes > blocks.back().size) {
      add(std::max<std::size_t>(bytes, blocks.empty() ? 1 << 16 : 2 * blocks.back().size));
    }
    std::byte* result = blocks.back().memory.get() + used;
    used += bytes;
    return result;
  }

  void add(std::size_t size) {
    Block block;
    block.memory.reset(static_cast<std::byte*>(::operator new(size, std::align_val_t(kScratchAlignment))));
    block.size = size;
    blocks.push_back(std::move(block));
    used = 0;
  }

  // Several blocks become one that holds them all, so that the next call of this shape takes from a single block.
  void settle() {
    if (blocks.size() > 1) {
      std::size_t total = 0;
      for (const Block& block : blocks) total += block.size;
      blocks.clear();
      add(total);
    }
    used = 0;
  }
};

inline ScratchArena& scratch_arena() {
  static thread_local ScratchArena arena;
  return arena;
}

}  // namespace detail

/// Scratch memory of this thread for the lifetime of a frame. Frames nest; the memory is uninitialised and 64-byte
/// aligned.
class ScratchFrame {
 public:
  ScratchFrame() : arena_(detail::scratch_arena()), block_(arena_.blocks.size()), used_(arena_.used) {
    ++arena_.frames;
  }
  ScratchFrame(const ScratchFrame&) = delete;
  ScratchFrame& operator=(const ScratchFrame&) = delete;
  ~ScratchFrame() {
    if (--arena_.frames == 0) {
      try {
        arena_.settle();
      } catch (const std::bad_alloc&) {  // the blocks are gone; the next frame starts afresh
      }
    } else if (arena_.blocks.size() == block_) {
      arena_.used = used_;
    }
  }

  /// Room for `count` elements of T.
  template <class T>
  T* take(Index count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return reinterpret_cast<T*>(arena_.take(std::size_t(std::max<Index>(count, 0)) * sizeof(T)));
  }

 private:
  detail::ScratchArena& arena_;
  std::size_t block_, used_;
};

}  // namespace heed::inline HEED_ISA
