// SPDX-License-Identifier: Apache-2.0
#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> count{0};

}  // namespace

namespace heed::test {

std::size_t allocation_count() { return count.load(); }

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
  ++count;
  return __real_malloc(size);
}
void* __wrap_calloc(std::size_t members, std::size_t size) {
  ++count;
  return __real_calloc(members, size);
}
void* __wrap_realloc(void* block, std::size_t size) {
  ++count;
  return __real_realloc(block, size);
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
  ++count;
  return __real_aligned_alloc(alignment, size);
}
int __wrap_posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  ++count;
  return __real_posix_memalign(block, alignment, size);
}
}
#define HEED_TEST_ADD
#else
#define HEED_TEST_ADD ++count
#endif

// The array forms and the sized forms call these.
void* operator new(std::size_t size) {
  HEED_TEST_ADD;
  if (void* block = std::malloc(size == 0 ? 1 : size)) return block;
  throw std::bad_alloc();
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  HEED_TEST_ADD;
  const std::size_t unit = std::size_t(alignment);
  if (void* block = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return block;
  throw std::bad_alloc();
}

void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
