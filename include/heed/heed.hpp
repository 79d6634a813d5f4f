// SPDX-License-Identifier: Apache-2.0
// Everything.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/core/safetensors.hpp"
