// SPDX-License-Identifier: Apache-2.0
// The fused attention with its scores, visibility rules, caches and merging.
#pragma once

#include "heed/attention/cache/attend.hpp"
#include "heed/attention/cache/contiguous.hpp"
#include "heed/attention/cache/paged.hpp"
#include "heed/attention/cache/ring.hpp"
#include "heed/attention/heads.hpp"
#include "heed/attention/mask/blocks.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/documents.hpp"
#include "heed/attention/mask/extra_keys.hpp"
#include "heed/attention/mask/rule.hpp"
#include "heed/attention/mask/segments.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/mask/window_2d.hpp"
#include "heed/attention/merge.hpp"
#include "heed/attention/score/modifier.hpp"
#include "heed/attention/score/relative.hpp"
#include "heed/attention/score/standard.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/attention/weights.hpp"
