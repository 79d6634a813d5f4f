// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: its JSON, its rules, and what its element types are in C++. See safetensors.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "heed/core/error.hpp"
#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA::detail {

struct StoredType {
  std::string_view name;
  Index bytes;
};

inline constexpr StoredType kStoredTypes[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},  {"I32", 4}, {"I16", 2},     {"I8", 1},
    {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

struct StoredTensor {
  const StoredType* dtype = nullptr;
  std::vector<Index> shape;
  Index count = 0;             // elements
  Index begin = -1, end = -1;  // bytes, from the end of the header
};

struct SafetensorsHeader {
  std::map<std::string, StoredTensor, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
};

// Calls f with a value of the C++ type of a stored one; with a void* where C++ has none that heed reads.
template <class F>
void with_stored_type(const StoredType& type, F&& f) {
  const std::string_view name = type.name;
  if (name == "F64") return f(double());
  if (name == "F32") return f(float());
  if (name == "F16") return f(half());
  if (name == "BF16") return f(bfloat16());
  if (name == "I64") return f(std::int64_t());
  if (name == "I32") return f(std::int32_t());
  if (name == "I16") return f(std::int16_t());
  if (name == "I8") return f(std::int8_t());
  if (name == "U64") return f(std::uint64_t());
  if (name == "U32") return f(std::uint32_t());
  if (name == "U16") return f(std::uint16_t());
  if (name == "U8") return f(std::uint8_t());
  if (name == "BOOL") return f(std::uint8_t());
  f(static_cast<void*>(nullptr));
}

template <class T>
T from_little_endian(T value) {
  if constexpr (std::endian::native == std::endian::big) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    std::reverse(bytes, bytes + sizeof(T));
    std::memcpy(static_cast<void*>(&value), bytes, sizeof(T));
  }
  return value;
}

// False when `to` cannot hold an integer. Floats round, the 16-bit ones by way of float.
template <class From, class To>
bool convert_stored(From value, To& to) {
  if constexpr (std::same_as<From, To>) {
    to = value;
  } else if constexpr (std::same_as<To, bool>) {
    if (value != 0 && value != 1) return false;
    to = value != 0;
  } else if constexpr (std::integral<To>) {
    if (!std::in_range<To>(value)) return false;
    to = static_cast<To>(value);
  } else if constexpr (std::floating_point<To> && std::is_arithmetic_v<From>) {
    to = static_cast<To>(value);
  } else {
    to = static_cast<To>(static_cast<float>(value));
  }
  return true;
}

// The JSON of a header: objects, arrays of whole numbers, and strings. Anything else has no place in one.
class HeaderReader {
 public:
  HeaderReader(std::string_view path, std::string_view text) : path_(path), text_(text) {}

  /// Calls member(key) with the reader standing at each value.
  template <class F>
  void object(F&& member) {
    expect('{');
    if (accept('}')) return;
    do {
      const std::string key = string();
      expect(':');
      member(key);
    } while (accept(','));
    expect('}');
  }

  std::vector<Index> numbers() {
    std::vector<Index> result;
    expect('[');
    if (accept(']')) return result;
    do result.push_back(number());
    while (accept(','));
    expect(']');
    return result;
  }

  std::string string() {
    expect('"');
    std::string result;
    for (;;) {
      const unsigned char c = take();
      if (c == '"') return result;
      if (c < 0x20) wrong("a control character in a string");
      if (c != '\\')
        result += char(c);
      else
        escape(result);
    }
  }

  void finish() {
    skip_space();
    if (at_ != text_.size()) wrong("something follows its end");
  }

  [[noreturn]] void wrong(std::string_view what) const { fail(path_, "malformed header at byte ", at_, ": ", what); }

 private:
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  unsigned char take() {
    if (at_ == text_.size()) wrong("it ends too early");
    return static_cast<unsigned char>(text_[at_++]);
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) wrong(std::string("expected ") + c);
  }

  Index number() {
    skip_space();
    const std::size_t start = at_;
    Index value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const Index digit = text_[at_] - '0';
      if (value > (std::numeric_limits<Index>::max() - digit) / 10) wrong("a number is too large");
      value = 10 * value + digit;
    }
    if (at_ == start) wrong("expected a whole number, zero or more");
    if (text_[start] == '0' && at_ > start + 1) wrong("a number starts with 0");
    return value;
  }

  std::uint32_t hex4() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const std::size_t digit = std::string_view("0123456789abcdefABCDEF").find(char(take()));
      if (digit == std::string_view::npos) wrong("expected four hexadecimal digits after \\u");
      value = 16 * value + std::uint32_t(digit < 16 ? digit : digit - 6);
    }
    return value;
  }

  // What follows a backslash; \uXXXX, surrogate pairs included, becomes UTF-8.
  void escape(std::string& to) {
    const char c = char(take());
    const std::size_t simple = std::string_view("\"\\/bfnrt").find(c);
    if (simple != std::string_view::npos) {
      to += "\"\\/\b\f\n\r\t"[simple];
      return;
    }
    if (c != 'u') wrong("an unknown escape in a string");
    std::uint32_t code = hex4();
    if (code >= 0xD800 && code < 0xE000) {
      if (code >= 0xDC00 || take() != '\\' || take() != 'u') wrong("half of a surrogate pair");
      const std::uint32_t low = hex4();
      if (low < 0xDC00 || low >= 0xE000) wrong("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code < 0x80) {
      to += char(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes after the first
    to += char((0xFF00 >> (more + 1) & 0xFF) | code >> (6 * more));
    for (int i = more; i-- > 0;) to += char(0x80 | (code >> (6 * i) & 0x3F));
  }

  std::string_view path_, text_;
  std::size_t at_ = 0;
};

inline StoredTensor read_stored_tensor(std::string_view path, std::string_view name, HeaderReader& reader) {
  StoredTensor tensor;
  bool has_shape = false;
  reader.object([&](std::string_view key) {
    if (key == "dtype" && tensor.dtype == nullptr) {
      const std::string dtype = reader.string();
      tensor.dtype = std::ranges::find(kStoredTypes, dtype, &StoredType::name);
      require(tensor.dtype != std::end(kStoredTypes), path, "tensor '", name, "': unknown dtype '", dtype, "'");
    } else if (key == "shape" && !has_shape) {
      tensor.shape = reader.numbers();
      has_shape = true;
    } else if (key == "data_offsets" && tensor.begin < 0) {
      const std::vector<Index> offsets = reader.numbers();
      require(offsets.size() == 2 && offsets[0] <= offsets[1], path, "tensor '", name,
              "': data_offsets must be two numbers, begin and end, got ", shape_text(offsets));
      tensor.begin = offsets[0];
      tensor.end = offsets[1];
    } else {
      fail(path, "tensor '", name, "': '", key, "' is unknown or twice there");
    }
  });
  require(tensor.dtype != nullptr && has_shape && tensor.begin >= 0, path, "tensor '", name,
          "': needs dtype, shape and data_offsets");
  // An axis of 0 counts as 1 here, so that no partial product of the sizes can overflow anywhere later.
  Index room = std::numeric_limits<Index>::max() / tensor.dtype->bytes;
  tensor.count = 1;
  for (const Index size : tensor.shape) {
    room /= std::max<Index>(size, 1);
    require(room > 0, path, "tensor '", name, "': shape ", shape_text(tensor.shape), " is too large");
    tensor.count *= size;
  }
  require(tensor.count * tensor.dtype->bytes == tensor.end - tensor.begin, path, "tensor '", name,
          "': ", tensor.dtype->name, " of shape ", shape_text(tensor.shape), " takes ",
          tensor.count * tensor.dtype->bytes, " bytes, its data_offsets give it ", tensor.end - tensor.begin);
  return tensor;
}

/// Reads and checks a header whose data has `data_bytes` bytes: the tensors cover them without a gap or an overlap.
inline SafetensorsHeader read_safetensors_header(std::string_view path, std::string_view text, Index data_bytes) {
  SafetensorsHeader header;
  bool has_metadata = false;
  HeaderReader reader(path, text);
  reader.object([&](const std::string& name) {
    if (name == "__metadata__") {
      if (std::exchange(has_metadata, true)) reader.wrong("__metadata__ is there twice");
      reader.object([&](const std::string& key) {
        require(header.metadata.emplace(key, reader.string()).second, path, "metadata '", key, "' is there twice");
      });
    } else {
      require(header.tensors.emplace(name, read_stored_tensor(path, name, reader)).second, path, "tensor '", name,
              "' is there twice");
    }
  });
  reader.finish();

  std::vector<std::pair<const std::string*, const StoredTensor*>> in_order;
  for (const auto& [name, tensor] : header.tensors) in_order.emplace_back(&name, &tensor);
  std::ranges::sort(in_order, {}, [](const auto& entry) { return std::pair(entry.second->begin, entry.second->end); });
  Index covered = 0;
  for (const auto& [name, tensor] : in_order) {
    require(tensor->end <= data_bytes, path, "tensor '", *name, "': ends at byte ", tensor->end, " of ", data_bytes,
            " bytes of data");
    require(tensor->begin == covered, path, "tensor '", *name, "': begins at byte ", tensor->begin,
            tensor->begin < covered ? ", within another tensor" : ", behind a gap", " (expected ", covered, ")");
    covered = tensor->end;
  }
  require(covered == data_bytes, path, "has ", data_bytes - covered, " bytes of data that belong to no tensor");
  return header;
}

}  // namespace heed::inline HEED_ISA::detail
