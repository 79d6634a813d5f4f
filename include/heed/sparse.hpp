// SPDX-License-Identifier: Apache-2.0
// Sparse and routed attention.
#pragma once

#include "heed/block/entmax.hpp"
#include "heed/sparse/acmil_attention.hpp"
#include "heed/sparse/acmil_multihead_attention.hpp"
#include "heed/sparse/attention_diversity_loss.hpp"
#include "heed/sparse/attention_entropy_loss.hpp"
#include "heed/sparse/block_sparse_attention.hpp"
#include "heed/sparse/entmax.hpp"
#include "heed/sparse/entmax_attention.hpp"
#include "heed/sparse/gated_attention_pool.hpp"
#include "heed/sparse/sigmoid_attention.hpp"
#include "heed/sparse/stochastic_topk_instance_mask.hpp"
#include "heed/sparse/variable_block_sparse_attention.hpp"
