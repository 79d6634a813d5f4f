// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "everything.hpp"

#define HEED_TEST_TEXT(x) #x
#define HEED_TEST_EXPAND(x) HEED_TEST_TEXT(x)

// Internal linkage: what is tested is that the library's own symbols stay apart, not this file's.
namespace {

std::string instruction_set() { return HEED_TEST_EXPAND(HEED_ISA); }

std::string describe(const float* values) {
  const heed::View<const float, 2> view(values, {2, 3});
  const auto column = view.select(1, 2);
  return std::string(heed::shape_text(column.sizes)) + std::to_string(int(column(1)));
}

}  // namespace
