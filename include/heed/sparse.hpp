// SPDX-License-Identifier: Apache-2.0
// Sparse and routed attention.
#pragma once

#include "heed/sparse/block_sparse_attention.hpp"
#include "heed/sparse/variable_block_sparse_attention.hpp"
