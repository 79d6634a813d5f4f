// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/local_linear.md.
#include "registry.hpp"

namespace conformance {

void add_local_linear([[maybe_unused]] Registry& add) {}

}  // namespace conformance
