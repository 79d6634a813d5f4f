// SPDX-License-Identifier: Apache-2.0
// The one exception type, and how its texts are put together.
#pragma once

#include <cstddef>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "heed/core/isa.hpp"

namespace heed {

/// Thrown for a wrong shape, option or value, before any output is written. The text names the operator, the tensor,
/// what was expected and what came. It stands outside of the instruction-set namespace, so that it can be caught
/// anywhere.
class Error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

inline namespace HEED_ISA {

/// Throws heed::Error with the text "<where>: <parts...>".
template <class... Parts>
[[noreturn]] HEED_NOINLINE void fail(std::string_view where, const Parts&... parts) {
  std::ostringstream text;
  text << where << ": ";
  (text << ... << parts);
  throw Error(text.str());
}

/// Throws as fail() does unless `condition` holds.
template <class... Parts>
void require(bool condition, std::string_view where, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail(where, parts...);
}

/// "(2, 8, 128, 64)", for error texts.
template <class Sizes>
std::string shape_text(const Sizes& sizes) {
  std::ostringstream text;
  text << '(';
  bool first = true;
  for (const auto size : sizes) {
    if (!first) text << ", ";
    text << size;
    first = false;
  }
  text << ')';
  return text.str();
}

}  // namespace HEED_ISA
}  // namespace heed
