// SPDX-License-Identifier: Apache-2.0
// What the README's shorter snippets take as given.
#pragma once

#if __has_include(<heed/heed.hpp>)
#include <heed/heed.hpp>
#else
#include <heed/core/device.hpp>
#include <heed/core/tensor.hpp>
#endif

#include <cmath>
#include <iostream>
#include <vector>
