// SPDX-License-Identifier: Apache-2.0
// Attention without a softmax over all pairs: linear, by agents, by state spaces.
#pragma once

#include "heed/linear/agent_attention.hpp"
#include "heed/linear/agent_attention_core.hpp"
#include "heed/linear/diagonal_attention_loss.hpp"
#include "heed/linear/l2vit_block.hpp"
#include "heed/linear/l2vit_linear_attention.hpp"
#include "heed/linear/local_concentration_module.hpp"
#include "heed/linear/mambamixer.hpp"
#include "heed/linear/mixer_gating_unit.hpp"
#include "heed/linear/ninformer_block.hpp"
#include "heed/linear/selective_channel_mixer.hpp"
#include "heed/linear/selective_scan.hpp"
#include "heed/linear/selective_token_mixer.hpp"
