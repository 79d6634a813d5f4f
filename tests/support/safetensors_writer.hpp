// SPDX-License-Identifier: Apache-2.0
// Writes safetensors files for tests: well-formed ones from tensors, and any bytes at all.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

namespace heed::test {

/// A folder of its own below the system's temporary one, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> number{0};
    path_ = std::filesystem::temp_directory_path() /
            ("heed_test_" + std::to_string(::getpid()) + "_" + std::to_string(number++));
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);  // a truncated file would be flushed to the disk when it is closed
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), std::streamsize(bytes.size()));
}

/// The eight length bytes, a header and data, whatever they hold.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(header.size() >> (8 * i) & 0xFF);
  return bytes + header + data;
}

class SafetensorsWriter {
 public:
  SafetensorsWriter& metadata(const std::string& key, const std::string& value) {
    metadata_ += (metadata_.empty() ? "" : ",") + quoted(key) + ":" + quoted(value);
    return *this;
  }

  template <class T>
  SafetensorsWriter& add(const std::string& name, const std::string& dtype, const std::vector<long>& shape,
                         const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t begin = data_.size(), length = values.size() * sizeof(T);
    data_.resize(begin + length);
    if (length > 0) std::memcpy(data_.data() + begin, values.data(), length);
    std::string sizes;
    for (const long size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    tensors_ += "," + quoted(name) + R"(:{"dtype":")" + dtype + R"(","shape":[)" + sizes + R"(],"data_offsets":[)" +
                std::to_string(begin) + "," + std::to_string(data_.size()) + "]}";
    return *this;
  }

  std::string bytes() const {
    return safetensors_bytes("{\"__metadata__\":{" + metadata_ + "}" + tensors_ + "}", data_);
  }
  void write(const std::string& path) const { write_bytes(path, bytes()); }

 private:
  static std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') result += '\\';
      result += c;
    }
    return result + "\"";
  }

  std::string metadata_, tensors_, data_;
};

}  // namespace heed::test
