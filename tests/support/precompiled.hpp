// SPDX-License-Identifier: Apache-2.0
// What nearly every test includes, read once a program: a third of the time it takes to compile one.
#pragma once

#include "catch.hpp"
#include "heed/core/device.hpp"
#include "heed/simd/batch.hpp"
