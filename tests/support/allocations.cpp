// SPDX-License-Identifier: Apache-2.0
#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> count{0};

void add_one() {
  if (heed::test::kCountsAllocations) count.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

namespace heed::test {

std::size_t allocation_count() { return count.load(std::memory_order_relaxed); }

}  // namespace heed::test

// Eigen allocates by malloc, which a program cannot replace as it can operator new; the linker's --wrap sends the calls
// made in the test's own object files here.
#ifdef HEED_TEST_WRAP_MALLOC
extern "C" {
void* __real_malloc(std::size_t size);
void* __real_calloc(std::size_t members, std::size_t size);
void* __real_realloc(void* block, std::size_t size);
void* __real_aligned_alloc(std::size_t alignment, std::size_t size);
int __real_posix_memalign(void** block, std::size_t alignment, std::size_t size);

void* __wrap_malloc(std::size_t size) {
  add_one();
  return __real_malloc(size);
}
void* __wrap_calloc(std::size_t members, std::size_t size) {
  add_one();
  return __real_calloc(members, size);
}
void* __wrap_realloc(void* block, std::size_t size) {
  add_one();
  return __real_realloc(block, size);
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
  add_one();
  return __real_aligned_alloc(alignment, size);
}
int __wrap_posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  add_one();
  return __real_posix_memalign(block, alignment, size);
}
}
#endif

#if !HEED_TEST_SANITIZED
// The array forms and those that do not throw call these. With --wrap, malloc counts.
void* operator new(std::size_t size) {
#ifndef HEED_TEST_WRAP_MALLOC
  add_one();
#endif
  if (void* block = std::malloc(size == 0 ? 1 : size)) return block;
  throw std::bad_alloc();
}

void* operator new(std::size_t size, std::align_val_t alignment) {
#ifndef HEED_TEST_WRAP_MALLOC
  add_one();
#endif
  const std::size_t unit = std::size_t(alignment);
  if (void* block = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return block;
  throw std::bad_alloc();
}

void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
#endif
