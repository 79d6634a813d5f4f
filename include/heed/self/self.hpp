// SPDX-License-Identifier: Apache-2.0
// Self-attention, and the standard operators.
#pragma once

#include "heed/self/alibi_slopes.hpp"
#include "heed/self/kv_cache_attention.hpp"
#include "heed/self/relative_position_bias.hpp"
#include "heed/self/rotary_position_embedding.hpp"
