// SPDX-License-Identifier: Apache-2.0
// Division by a number known ahead, as a multiplication and a shift.
#pragma once

#include <bit>
#include <cstdint>

#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA {

/// floor(n / divisor) for 0 <= n < 2^31 and 1 <= divisor < 2^31, in about 4 cycles where a 64-bit division takes 10 to
/// 40. With k = 31 + ceil(log2 divisor) the rounded-up factor 2^k / divisor errs by less than divisor <= 2^(k - 31) in
/// divisor * factor, so that n * factor / 2^k never reaches the next integer (Granlund and Montgomery 1994, theorem
/// 4.2).
class Divider {
 public:
  Divider() = default;
  explicit Divider(Index divisor)
      : divisor_(divisor),
        shift_(31 + int(std::bit_width(std::uint64_t(divisor - 1)))),
        factor_(((std::uint64_t(1) << shift_) + std::uint64_t(divisor) - 1) / std::uint64_t(divisor)) {}

  Index divisor() const { return divisor_; }
  HEED_INLINE Index quotient(Index n) const { return Index((std::uint64_t(n) * factor_) >> shift_); }
  HEED_INLINE Index remainder(Index n) const { return n - quotient(n) * divisor_; }

 private:
  Index divisor_ = 1;
  int shift_ = 31;
  std::uint64_t factor_ = std::uint64_t(1) << 31;
};

}  // namespace heed::inline HEED_ISA
