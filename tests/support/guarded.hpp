// SPDX-License-Identifier: Apache-2.0
// Memory that ends at a page which cannot be touched: a read or write beyond it ends the program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <type_traits>

namespace heed::test {

enum class Edge { kBegin, kEnd };

/// `count` elements of T that begin directly behind a forbidden page, or end directly before one. All bytes are 0.
template <class T>
class Guarded {
 public:
  static_assert(std::is_trivially_copyable_v<T>);

  explicit Guarded(std::size_t count, Edge edge = Edge::kEnd) : count_(count) {
    const std::size_t page = std::size_t(::sysconf(_SC_PAGESIZE));
    const std::size_t inner = (count * sizeof(T) + page - 1) / page * page;
    size_ = inner + 2 * page;
    memory_ = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    std::byte* begin = static_cast<std::byte*>(memory_) + page;
    if (inner > 0 && ::mprotect(begin, inner, PROT_READ | PROT_WRITE) != 0) throw std::runtime_error("mprotect failed");
    data_ = reinterpret_cast<T*>(edge == Edge::kBegin ? begin : begin + inner - count * sizeof(T));
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(memory_, size_); }

  T* data() const { return data_; }
  T* begin() const { return data_; }
  T* end() const { return data_ + count_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  void* memory_ = nullptr;
  std::size_t size_ = 0, count_ = 0;
  T* data_ = nullptr;
};

/// `size` bytes of address space of which only the pages that are touched take memory. Null where the system refuses.
class AddressSpace {
 public:
  explicit AddressSpace(std::size_t size) : size_(size) {
    memory_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) memory_ = nullptr;
  }
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;
  ~AddressSpace() {
    if (memory_) ::munmap(memory_, size_);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  std::size_t size_;
};

}  // namespace heed::test
