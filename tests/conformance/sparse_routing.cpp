// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/sparse_routing.md.
#include "registry.hpp"

namespace conformance {

void add_sparse_routing([[maybe_unused]] Registry& add) {}

}  // namespace conformance
