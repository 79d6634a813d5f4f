// SPDX-License-Identifier: Apache-2.0
// Counts heap allocations, for tests of code that must not make any.
#pragma once

#include <cstddef>

namespace heed::test {

/// How many allocations this process has made so far, on all threads: by operator new, and, where the linker can redirect
/// them (not on macOS), by the calls of malloc and its kin that are compiled into the test.
std::size_t allocation_count();

}  // namespace heed::test
