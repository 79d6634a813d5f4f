// SPDX-License-Identifier: Apache-2.0
// Everything.
#pragma once

#include "heed/attention/cache/attend.hpp"
#include "heed/attention/score/relative.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/core/safetensors.hpp"
#include "heed/self/self.hpp"
