// SPDX-License-Identifier: Apache-2.0
// Attention along two axes, or of two streams.
#pragma once

#include "heed/dual/channel_mutual_fusion.hpp"
#include "heed/dual/dual_branch_conformer.hpp"
#include "heed/dual/dual_mix_attention.hpp"
#include "heed/dual/dual_mix_block.hpp"
#include "heed/dual/dual_transformer_block.hpp"
#include "heed/dual/guided_dual_attention.hpp"
#include "heed/dual/mutual_fusion.hpp"
#include "heed/dual/position_mutual_fusion.hpp"
