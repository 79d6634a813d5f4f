// SPDX-License-Identifier: Apache-2.0
// Attention that gates or mixes feature maps along channels and positions.
#pragma once

#include "heed/channel/bam.hpp"
#include "heed/channel/cbam.hpp"
#include "heed/channel/channel_gate.hpp"
#include "heed/channel/coordinate_attention.hpp"
#include "heed/channel/eca.hpp"
#include "heed/channel/ela.hpp"
#include "heed/channel/global_context.hpp"
#include "heed/channel/pyramid_squeeze_attention.hpp"
#include "heed/channel/scse.hpp"
#include "heed/channel/selective_kernel.hpp"
#include "heed/channel/simam.hpp"
#include "heed/channel/spatial_gate.hpp"
#include "heed/channel/squeeze_excitation.hpp"
#include "heed/channel/triplet_attention.hpp"
