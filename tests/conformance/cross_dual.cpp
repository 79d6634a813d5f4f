// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/cross_dual.md.
#include "registry.hpp"

namespace conformance {

void add_cross_dual([[maybe_unused]] Registry& add) {}

}  // namespace conformance
