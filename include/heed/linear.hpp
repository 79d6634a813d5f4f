// SPDX-License-Identifier: Apache-2.0
// Linear attention: states in the place of all pairs of tokens.
#pragma once

#include "heed/linear/cosformer_attention.hpp"
#include "heed/linear/delta_rule.hpp"
#include "heed/linear/gated_linear_attention.hpp"
#include "heed/linear/lightning_attention.hpp"
#include "heed/linear/linear_attention.hpp"
#include "heed/linear/multi_scale_retention.hpp"
#include "heed/linear/performer_attention.hpp"
#include "heed/linear/retention.hpp"
#include "heed/linear/tnl_attention.hpp"
#include "heed/linear/transnormer_attention.hpp"
