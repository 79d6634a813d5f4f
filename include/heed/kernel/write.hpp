// SPDX-License-Identifier: Apache-2.0
// Whether a kernel replaces what an output holds.
#pragma once

#include "heed/core/isa.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// What happens to the elements of an output: they are replaced, or the result is added to them, as to a gradient.
enum class Write { kAssign, kAdd };

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
