// SPDX-License-Identifier: Apache-2.0
// Everything.
#pragma once

#include "heed/attention/mask/blocks.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/documents.hpp"
#include "heed/attention/mask/segments.hpp"
#include "heed/attention/mask/window_2d.hpp"
#include "heed/attention/merge.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/core/safetensors.hpp"
#include "heed/self/attention_mask.hpp"
#include "heed/self/masked_attention.hpp"
#include "heed/sparse/block_sparse_attention.hpp"
#include "heed/sparse/variable_block_sparse_attention.hpp"
