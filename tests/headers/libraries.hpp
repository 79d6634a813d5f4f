// SPDX-License-Identifier: Apache-2.0
// The libraries that heed's headers stand on.
#pragma once

#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/Tensor>
#include <xsimd/xsimd.hpp>
