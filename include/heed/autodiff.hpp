// SPDX-License-Identifier: Apache-2.0
// Variables and tapes, and what records the blocks.
#pragma once

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/merge.hpp"
#include "heed/autodiff/reduce.hpp"
#include "heed/autodiff/relative_bias.hpp"
#include "heed/autodiff/rotary.hpp"
#include "heed/autodiff/tape.hpp"
#include "heed/autodiff/var.hpp"
#include "heed/autodiff/weights.hpp"
