// SPDX-License-Identifier: Apache-2.0
// Everything.
#pragma once

#include "heed/analysis.hpp"
#include "heed/attention.hpp"
#include "heed/autodiff.hpp"
#include "heed/channel.hpp"
#include "heed/core/safetensors.hpp"
#include "heed/cross.hpp"
#include "heed/dual.hpp"
#include "heed/linear.hpp"
#include "heed/mixture_of_head.hpp"
#include "heed/neighborhood.hpp"
#include "heed/self.hpp"
#include "heed/sparse.hpp"
