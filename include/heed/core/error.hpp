// SPDX-License-Identifier: Apache-2.0
// The one exception type, and how its texts are put together.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

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

namespace detail {

/// Anything that a stream writes, behind one type: what puts an error text together is compiled once, not for each list
/// of types (there were a hundred in a file of ten operators).
class TextPart {
 public:
  template <class X>
  explicit TextPart(const X& x) {
    if constexpr (std::is_array_v<X>) {
      value_ = static_cast<const char*>(x);
      write_ = [](std::ostream& stream, const void* text) { stream << static_cast<const char*>(text); };
    } else {
      value_ = &x;
      write_ = [](std::ostream& stream, const void* value) { stream << *static_cast<const X*>(value); };
    }
  }
  friend std::ostream& operator<<(std::ostream& stream, const TextPart& part) {
    part.write_(stream, part.value_);
    return stream;
  }

 private:
  const void* value_;
  void (*write_)(std::ostream& stream, const void* value);
};

[[noreturn]] HEED_NOINLINE inline void fail_with(std::string_view where, std::initializer_list<TextPart> parts) {
  std::ostringstream text;
  text << where << ": ";
  for (const TextPart& part : parts) text << part;
  throw Error(text.str());
}

}  // namespace detail

/// Throws heed::Error with the text "<where>: <parts...>".
template <class... Parts>
[[noreturn]] HEED_NOINLINE void fail(std::string_view where, const Parts&... parts) {
  detail::fail_with(where, {detail::TextPart(parts)...});
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
