// SPDX-License-Identifier: Apache-2.0
#include "heed/core/scratch.hpp"

#include <cstdint>
#include <cstring>
#include <thread>

#include "catch.hpp"
#include "support/allocations.hpp"

using heed::Index;
using heed::ScratchFrame;

namespace {

// Writes all of what it takes, so that memory that is too small or shared is found out.
void use(Index count) {
  ScratchFrame frame;
  double* outer = frame.take<double>(count);
  std::fill_n(outer, count, 1.);
  for (int call = 0; call < 3; ++call) {
    ScratchFrame nested;
    float* inner = nested.take<float>(2 * count + 1);
    std::fill_n(inner, 2 * count + 1, 2.f);
    char* odd = nested.take<char>(7);
    std::memset(odd, 3, 7);
  }
  for (Index i = 0; i < count; ++i)
    if (outer[i] != 1.) throw std::logic_error("scratch memory is shared");
}

std::size_t allocations_of(Index count) {
  const std::size_t before = heed::test::allocation_count();
  use(count);
  return heed::test::allocation_count() - before;
}

}  // namespace

TEST_CASE("The counter sees allocations") {
  if (!heed::test::kCountsAllocations) return;
  const std::size_t before = heed::test::allocation_count();
  // Through a function pointer: the compiler may leave out a new that it sees deleted again.
  void* (*volatile allocate)(std::size_t) = &operator new;
  operator delete(allocate(100));
  CHECK(heed::test::allocation_count() == before + 1);
#if defined(__linux__)
  const std::size_t between = heed::test::allocation_count();
  Eigen::internal::aligned_free(Eigen::internal::aligned_malloc(1 << 20));
  CHECK(heed::test::allocation_count() == between + 1);
#endif
}

TEST_CASE("A shape allocates in its first call only") {
  std::thread([] {  // a thread of its own starts without scratch memory
    for (const Index count : {1000, 100000, 3000000}) {
      CAPTURE(count);
      CHECK((allocations_of(count) > 0) == heed::test::kCountsAllocations);
      CHECK(allocations_of(count) == 0);
      CHECK(allocations_of(count / 3) == 0);
      CHECK(allocations_of(count) == 0);
    }
  })
      .join();
}

TEST_CASE("Memory is aligned, and none is a valid amount") {
  ScratchFrame frame;
  for (const Index count : {1, 0, 63, 64, 65, 100001}) {
    CHECK(reinterpret_cast<std::uintptr_t>(frame.take<char>(count)) % 64 == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(frame.take<double>(count)) % 64 == 0);
  }
}

TEST_CASE("Memory of a frame survives frames below it that make the arena grow") {
  std::thread([] {
    ScratchFrame frame;
    int* kept = frame.take<int>(100);
    std::fill_n(kept, 100, 42);
    {
      ScratchFrame nested;
      std::memset(nested.take<char>(1 << 22), 0, 1 << 22);
    }
    int* later = frame.take<int>(100);
    std::fill_n(later, 100, 7);
    CHECK(std::count(kept, kept + 100, 42) == 100);
  }).join();
}

TEST_CASE("Threads do not share scratch memory") {
  const auto repeat = [] {
    for (Index call = 0; call < 50; ++call) use(1000 + call);
  };
  std::thread other(repeat);
  repeat();
  other.join();
}
