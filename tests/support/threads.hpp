// SPDX-License-Identifier: Apache-2.0
// The law that an operator gives the same bits on any number of threads.
#pragma once

#include <cstring>

#include "catch.hpp"
#include "heed/core/device.hpp"

namespace heed::test {

/// f(device), a tensor, must have the same bits on 1, 2 and 3 threads. As a DeviceRef they share one instantiation.
template <class F>
void check_threads(const F& f) {
  const auto once = f(DeviceRef());
  for (const int threads : {2, 3}) {
    INFO("on " << threads << " threads");
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    const auto again = f(DeviceRef(device));
    REQUIRE(again.size() == once.size());
    CHECK((once.size() == 0 ||
           std::memcmp(again.data(), once.data(), std::size_t(once.size()) * sizeof(*once.data())) == 0));
  }
}

}  // namespace heed::test
