// SPDX-License-Identifier: Apache-2.0
// Self-attention, and the standard operators.
#pragma once

#include "heed/self/alibi_slopes.hpp"
#include "heed/self/attention_mask.hpp"
#include "heed/self/elementwise_gated_attention.hpp"
#include "heed/self/kv_cache_attention.hpp"
#include "heed/self/masked_attention.hpp"
#include "heed/self/multi_head_attention.hpp"
#include "heed/self/relative_position_bias.hpp"
#include "heed/self/rotary_position_embedding.hpp"
#include "heed/self/scaled_dot_product_attention.hpp"
#include "heed/self/taylor_attention.hpp"
#include "heed/self/varlen_attention.hpp"
