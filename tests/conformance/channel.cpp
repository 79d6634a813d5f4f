// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/channel.md.
#include "registry.hpp"

namespace conformance {

void add_channel([[maybe_unused]] Registry& add) {}

}  // namespace conformance
