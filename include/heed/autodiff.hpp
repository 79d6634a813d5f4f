// SPDX-License-Identifier: Apache-2.0
// Variables and tapes, and what records the blocks.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/autodiff/var.hpp"
