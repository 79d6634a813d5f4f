// SPDX-License-Identifier: Apache-2.0
// Keys and values of float that travel as bfloat16.
#pragma once

#include <concepts>
#include <limits>

#include "heed/distributed/key_ring.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Whether numbers of U are rounded for the wire where that is asked for.
template <Storage U>
bool rounds_for(bool bfloat16_wire) {
  return std::same_as<U, float> && bfloat16_wire;
}
/// Which type it is that travels, by its digits.
template <Storage U>
std::int64_t wire_digits(bool bfloat16_wire) {
  return rounds_for<U>(bfloat16_wire) ? std::numeric_limits<Eigen::bfloat16>::digits : std::numeric_limits<U>::digits;
}

/// f(travelling, widened): the part as it is sent, and what makes of the part of position p that has arrived the one to
/// work with, which stands until the next. The caller's own is never rounded.
template <class Dev, Storage U, class F>
void with_wire(const Dev& device, const KeyRing& ring, KeyPart<U>& own, bool bfloat16_wire, const F& f) {
  if constexpr (std::same_as<U, float>) {
    if (bfloat16_wire) {
      const auto copy = [&](auto& from, auto& to) {
        kernel::copy<kernel::Write::kAssign>(device, from.k(), to.k());
        kernel::copy<kernel::Write::kAssign>(device, from.v(), to.v());
      };
      KeyPart<Eigen::bfloat16> narrow = own.template empty_like<Eigen::bfloat16>();
      copy(own, narrow);
      KeyPart<U> wide;
      f(narrow, [&](Index p, KeyPart<Eigen::bfloat16>& arrived) -> KeyPart<U>& {
        if (p == ring.position) return own;
        if (wide.empty()) wide = own.empty_like();
        copy(arrived, wide);
        return wide;
      });
      return;
    }
  }
  f(own, [](Index, KeyPart<U>& arrived) -> KeyPart<U>& { return arrived; });
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
