// SPDX-License-Identifier: Apache-2.0
// Sparse and routed attention.
#pragma once

#include "heed/sparse/attention_lepe.hpp"
#include "heed/sparse/bi_level_routing_attention.hpp"
#include "heed/sparse/bi_level_routing_attention_nchw.hpp"
#include "heed/sparse/block_sparse_attention.hpp"
#include "heed/sparse/clusters.hpp"
#include "heed/sparse/dynamic_mask_attention.hpp"
#include "heed/sparse/dynamic_mask_attention_layer.hpp"
#include "heed/sparse/kmeans_routing_attention.hpp"
#include "heed/sparse/lsh_attention.hpp"
#include "heed/sparse/moba_attention.hpp"
#include "heed/sparse/native_sparse_attention.hpp"
#include "heed/sparse/nsa_block_compress.hpp"
#include "heed/sparse/nsa_selection_scores.hpp"
#include "heed/sparse/routing_attention.hpp"
#include "heed/sparse/topk_attention.hpp"
#include "heed/sparse/variable_block_sparse_attention.hpp"
#include "heed/sparse/vmoba_attention.hpp"
