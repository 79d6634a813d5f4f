// SPDX-License-Identifier: Apache-2.0
// What reads, compares and edits attention maps.
#pragma once

#include "heed/analysis/attencraft_attention_loss.hpp"
#include "heed/analysis/attencraft_concept_masks.hpp"
#include "heed/analysis/attention_flow.hpp"
#include "heed/analysis/attention_rollout.hpp"
#include "heed/analysis/attention_saliency_correlation.hpp"
#include "heed/analysis/cross_attention_aggregate.hpp"
#include "heed/analysis/doei_token_optimization.hpp"
#include "heed/analysis/regularized_attention_flow.hpp"
#include "heed/analysis/vision_aware_head_reinforcement.hpp"
#include "heed/analysis/visual_attention_redistribution.hpp"
