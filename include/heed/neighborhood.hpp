// SPDX-License-Identifier: Apache-2.0
// Attention to neighbours: windows, bands, blocks, lines of a grid.
#pragma once

#include "heed/neighborhood/axial_attention.hpp"
#include "heed/neighborhood/block_local_attention.hpp"
#include "heed/neighborhood/boundary_guided_fusion.hpp"
#include "heed/neighborhood/channel_group_attention.hpp"
#include "heed/neighborhood/comprehensive_kernel_selection.hpp"
#include "heed/neighborhood/dlkppm.hpp"
#include "heed/neighborhood/dual_attention_block.hpp"
#include "heed/neighborhood/dual_scale_attention.hpp"
#include "heed/neighborhood/dual_scope_attention.hpp"
#include "heed/neighborhood/halo_attention.hpp"
#include "heed/neighborhood/large_kernel_attention.hpp"
#include "heed/neighborhood/large_separable_kernel_attention.hpp"
#include "heed/neighborhood/longformer_attention.hpp"
#include "heed/neighborhood/neighborhood_attention.hpp"
#include "heed/neighborhood/pag_fusion.hpp"
#include "heed/neighborhood/sdlska.hpp"
#include "heed/neighborhood/sliding_window_attention.hpp"
#include "heed/neighborhood/visual_attention.hpp"
#include "heed/neighborhood/visual_attention_block.hpp"
#include "heed/neighborhood/window_attention.hpp"
