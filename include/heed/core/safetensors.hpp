// SPDX-License-Identifier: Apache-2.0
// Weights from safetensors files: an 8-byte little-endian header length, a JSON header, and the tensors' bytes.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heed/core/parameters.hpp"
#include "heed/core/safetensors_header.hpp"

namespace heed::inline HEED_ISA {

/// A safetensors file. The header is read and checked when it is opened; the data of a tensor when it is asked for.
/// Reading is const and may be done from several threads. Everything that is wrong throws heed::Error with the file's
/// and the tensor's name.
class Safetensors {
 public:
  explicit Safetensors(std::string path) : path_(std::move(path)) {
    std::ifstream file = open();
    unsigned char bytes[8];
    if (!file.read(reinterpret_cast<char*>(bytes), 8)) fail(path_, "not a safetensors file: it has no 8 bytes");
    std::uint64_t length = 0;
    for (int i = 8; i-- > 0;) length = length << 8 | bytes[i];
    const std::streamoff end = file.seekg(0, std::ios::end).tellg();
    require(end >= 8 && length <= std::uint64_t(end - 8) && length <= kLongestHeader, path_,
            "not a safetensors file: its header is said to have ", length, " bytes, the file has ", end);
    data_begin_ = 8 + Index(length);
    std::string text(std::size_t(length), '\0');
    file.seekg(8);
    if (!file.read(text.data(), std::streamsize(length))) fail(path_, "cannot be read");
    header_ = detail::read_safetensors_header(path_, text, Index(end) - data_begin_);
  }

  const std::string& path() const { return path_; }

  /// The names of all tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : header_.tensors) result.push_back(name);
    return result;
  }

  bool contains(std::string_view name) const { return header_.tensors.contains(name); }
  const std::vector<Index>& shape(std::string_view name) const { return find(name).shape; }

  /// "F32", "BF16", "I64", ..
  std::string_view dtype(std::string_view name) const { return find(name).dtype->name; }

  /// A text of the file's `__metadata__`.
  std::optional<std::string> metadata(std::string_view key) const {
    const auto found = header_.metadata.find(key);
    return found == header_.metadata.end() ? std::nullopt : std::optional(found->second);
  }

  /// A tensor's elements in row-major order, converted to T. Floats are not read as integers, nor integers into a type
  /// that cannot hold them. `out` is unchanged on an error.
  template <class T>
  requires(!std::same_as<T, bool>)  // std::vector<bool> has no memory to read into
      void read(std::string_view name, std::vector<T>& out) const {
    const detail::StoredTensor& tensor = find(name);
    std::vector<T> values(std::size_t(tensor.count));
    read_elements(name, tensor, values.data());
    out = std::move(values);
  }

  /// The same into a tensor, which takes the file's shape; the ranks must agree.
  template <class T, int Rank>
  void read(std::string_view name, Tensor<T, Rank>& out) const {
    const detail::StoredTensor& tensor = find(name);
    require(tensor.shape.size() == std::size_t(Rank), path_, "tensor '", name, "': expected ", Rank,
            " axes, got shape ", shape_text(tensor.shape));
    std::array<Index, std::size_t(Rank)> sizes{};
    std::ranges::copy(tensor.shape, sizes.begin());
    Tensor<T, Rank> values(sizes);
    read_elements(name, tensor, values.data());
    out = std::move(values);
  }

 private:
  static constexpr std::uint64_t kLongestHeader = 100'000'000;  // as in the format's reference reader

  std::ifstream open() const {
    std::ifstream file(path_, std::ios::binary);
    require(file.is_open(), path_, "cannot be opened");
    return file;
  }

  const detail::StoredTensor& find(std::string_view name) const {
    const auto found = header_.tensors.find(name);
    require(found != header_.tensors.end(), path_, "has no tensor '", name, "'");
    return found->second;
  }

  template <class T>
  void read_elements(std::string_view name, const detail::StoredTensor& tensor, T* out) const {
    std::ifstream file = open();
    file.seekg(std::streamoff(data_begin_ + tensor.begin));
    detail::with_stored_type(*tensor.dtype, [&]<class From>(From) {
      if constexpr (std::same_as<From, void*>) {
        fail(path_, "tensor '", name, "': ", tensor.dtype->name, " cannot be read");
      } else if constexpr (std::integral<T> && !std::integral<From>) {
        fail(path_, "tensor '", name, "': ", tensor.dtype->name, " cannot be read as integers");
      } else {
        From chunk[1024];
        for (Index done = 0; done < tensor.count;) {
          const Index count = std::min<Index>(tensor.count - done, 1024);
          if (!file.read(reinterpret_cast<char*>(chunk), std::streamsize(count) * std::streamsize(sizeof(From))))
            fail(path_, "tensor '", name, "': cannot be read");
          for (Index i = 0; i < count; ++i, ++done)
            if (!detail::convert_stored(detail::from_little_endian(chunk[i]), out[done]))
              fail(path_, "tensor '", name, "': element ", done, " does not fit the type that it is read as");
        }
      }
    });
  }

  std::string path_;
  Index data_begin_ = 0;
  detail::SafetensorsHeader header_;
};

/// Opens a safetensors file: heed::load(op, heed::safetensors("weights.safetensors"), "blocks.0.attn.").
inline Safetensors safetensors(std::string path) { return Safetensors(std::move(path)); }

namespace detail {

// The parameters of an operator as they will be, read from a file: of one type for all operators.
class StagedParameters {
 public:
  StagedParameters(const Safetensors& file, std::string_view prefix) : file_(file), prefix_(prefix) {}

  template <class X>
  void operator()(std::string_view name, X& parameter) {
    stage(joined(prefix_, name), parameter, false);
  }
  template <class X>
  void operator()(std::string_view name, X& parameter, OptionalTag) {
    stage(joined(prefix_, name), parameter, true);
  }
  void commit() const {
    for (const auto& change : changes_) change();
  }

 private:
  template <class X>
  void stage(const std::string& name, X& parameter, bool may_be_absent) {
    const auto fresh = std::make_shared<X>();
    if (!may_be_absent || file_.contains(name)) {
      const auto expected = const_view(parameter);
      const std::vector<Index>& shape = file_.shape(name);
      require(parameter.size() == 0 || std::ranges::equal(shape, expected.sizes), file_.path(), "tensor '", name,
              "': expected shape ", shape_text(expected.sizes), ", got ", shape_text(shape));
      file_.read(name, *fresh);
    }
    changes_.emplace_back([&parameter, fresh] { parameter = std::move(*fresh); });
  }

  const Safetensors& file_;
  std::string_view prefix_;
  std::vector<std::function<void()>> changes_;
};

}  // namespace detail

/// Fills the parameters of an operator from the tensors `prefix + name` of a file, by the protocol of parameters.hpp. A
/// parameter that already has elements must have the file's shape; an empty one takes it. A missing tensor is an error,
/// or makes the parameter empty where it is optional. Other tensors of the file are ignored. All or nothing: on an
/// error nothing of the operator has changed.
template <HasParameters Op>
void load(Op& op, const Safetensors& file, std::string_view prefix = "") {
  detail::StagedParameters staged(file, prefix);
  for_each_parameter(op, staged);
  staged.commit();
}

}  // namespace heed::inline HEED_ISA
