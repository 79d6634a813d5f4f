// SPDX-License-Identifier: Apache-2.0
// Panels and their entries, for tests of kernels.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "heed/kernel/panel.hpp"

namespace heed::test {

/// Aligned memory for `count` elements of T, all `fill`, with as much again behind it that must keep its NaN.
template <class T>
class AlignedRow {
 public:
  explicit AlignedRow(Index count, T fill = std::numeric_limits<T>::quiet_NaN())
      : memory_(std::size_t(count) + kBehind + 64 / sizeof(T), std::numeric_limits<T>::quiet_NaN()), count_(count) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - address % 64) % 64 / sizeof(T);
    std::fill(data_, data_ + count, fill);
  }
  AlignedRow(const AlignedRow&) = delete;
  AlignedRow& operator=(const AlignedRow&) = delete;

  T* data() { return data_; }
  T& operator[](Index i) { return data_[i]; }
  Index size() const { return count_; }
  bool intact() const {
    for (std::size_t i = 0; i < kBehind; ++i)
      if (data_[count_ + Index(i)] == data_[count_ + Index(i)]) return false;
    return true;
  }

 private:
  static constexpr std::size_t kBehind = 64;
  std::vector<T> memory_;
  T* data_;
  Index count_;
};

/// A panel of `rows` rows.
template <Real T>
class Panel : public AlignedRow<T> {
 public:
  explicit Panel(Index rows, T fill = std::numeric_limits<T>::quiet_NaN())
      : AlignedRow<T>(rows * kernel::kPanelWidth<T>, fill) {}
  T& operator()(Index row, Index column) { return (*this)[row * kernel::kPanelWidth<T> + column]; }
};

/// Numbers between -1 and 1 that storage U holds exactly.
class Noise {
 public:
  explicit Noise(unsigned seed) : engine_(seed) {}
  float operator()() { return float(int(engine_() % 127) - 63) / 64.f; }

 private:
  std::mt19937 engine_;
};

}  // namespace heed::test
