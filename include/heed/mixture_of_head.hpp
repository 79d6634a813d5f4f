// SPDX-License-Identifier: Apache-2.0
// Mixtures of heads.
#pragma once

#include "heed/mixture_of_head/coordinate_bias.hpp"
#include "heed/mixture_of_head/head_routing.hpp"
#include "heed/mixture_of_head/moh_aggregated_attention.hpp"
#include "heed/mixture_of_head/moh_attention.hpp"
#include "heed/mixture_of_head/moh_cosine_attention.hpp"
#include "heed/mixture_of_head/moh_gates.hpp"
#include "heed/mixture_of_head/moh_llama_attention.hpp"
#include "heed/mixture_of_head/routed_head_attention.hpp"
#include "heed/mixture_of_head/switchhead_attention.hpp"
