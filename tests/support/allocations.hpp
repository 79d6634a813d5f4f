// SPDX-License-Identifier: Apache-2.0
// Counts heap allocations, for tests of code that must not make any.
#pragma once

#include <cstddef>

namespace heed::test {

// A sanitizer brings its own operator new, and finds less with another in its place.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEED_TEST_SANITIZED 1
#elif defined(__has_feature)
#define HEED_TEST_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define HEED_TEST_SANITIZED 0
#endif

inline constexpr bool kCountsAllocations = !HEED_TEST_SANITIZED;

/// How many allocations this process has made so far, on all threads: by operator new, and, where the linker can
/// redirect them (not on macOS), by the calls of malloc and its kin that are compiled into the test. Stays 0 under a
/// sanitizer:
/// `== 0` still holds there, `> 0` needs kCountsAllocations.
std::size_t allocation_count();

}  // namespace heed::test
