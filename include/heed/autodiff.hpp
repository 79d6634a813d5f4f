// SPDX-License-Identifier: Apache-2.0
// Variables and tapes, and what records the blocks.
#pragma once

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/cross_entropy.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/embedding.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/linear_attention.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/merge.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/reduce.hpp"
#include "heed/autodiff/relative_bias.hpp"
#include "heed/autodiff/rotary.hpp"
#include "heed/autodiff/softmax.hpp"
#include "heed/autodiff/softmax_scan.hpp"
#include "heed/autodiff/tape.hpp"
#include "heed/autodiff/unit_range.hpp"
#include "heed/autodiff/var.hpp"
#include "heed/autodiff/weights.hpp"
