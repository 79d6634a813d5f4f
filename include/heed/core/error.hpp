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

/// Sizes that are written as "(2, 8, 128, 64)" into an error text, and only when there is an error: require() is called
/// on every call of an operator, and putting the texts together there took three allocations and microseconds.
template <class Sizes>
class ShapeText {
 public:
  explicit ShapeText(const Sizes& sizes) : sizes_(sizes) {}
  explicit operator std::string() const {
    std::ostringstream text;
    text << *this;
    return text.str();
  }
  friend std::ostream& operator<<(std::ostream& stream, const ShapeText& shape) {
    stream << '(';
    bool first = true;
    for (const auto size : shape.sizes_) {
      if (!first) stream << ", ";
      stream << size;
      first = false;
    }
    return stream << ')';
  }

 private:
  const Sizes& sizes_;
};

/// For the parts of require() and fail(): refers to `sizes`.
template <class Sizes>
ShapeText<Sizes> shape_text(const Sizes& sizes) {
  return ShapeText<Sizes>(sizes);
}

/// Throws as require() does unless the tensor `name` has the shape `expected`.
template <class Sizes>
void require_shape(std::string_view where, std::string_view name, const Sizes& got, const Sizes& expected) {
  require(got == expected, where, name, " must have shape ", shape_text(expected), ", got ", shape_text(got));
}

}  // namespace HEED_ISA
}  // namespace heed
