// SPDX-License-Identifier: Apache-2.0
#include "linked.hpp"

std::string first(const float* values) { return instruction_set() + describe(values); }
