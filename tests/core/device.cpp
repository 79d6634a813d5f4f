// SPDX-License-Identifier: Apache-2.0
#include "heed/core/device.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "catch.hpp"

using heed::Index;
using heed::parallel_for;

namespace {

struct Pool {
  explicit Pool(int threads) : pool(threads), device(&pool, threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
};

template <class D>
void check_each_once(const D& device, Index count) {
  std::vector<std::atomic<int>> visits(std::size_t(count) + 1);
  parallel_for(device, count, [&](Index unit) { ++visits.at(std::size_t(unit)); });
  for (Index unit = 0; unit < count; ++unit) REQUIRE(visits[std::size_t(unit)] == 1);
  REQUIRE(visits[std::size_t(count)] == 0);
}

}  // namespace

TEST_CASE("parallel_for visits each unit once") {
  for (const Index count : {0, 1, 2, 3, 7, 1000}) {
    CAPTURE(count);
    check_each_once(Eigen::DefaultDevice(), count);
    check_each_once(heed::DeviceRef(), count);
    check_each_once(heed::DeviceRef(Eigen::DefaultDevice()), count);
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      const Pool pool(threads);
      CHECK(heed::thread_count(pool.device) == threads);
      for (int call = 0; call < 20; ++call) check_each_once(pool.device, count);
      check_each_once(heed::DeviceRef(pool.device), count);
      CHECK(heed::thread_count(heed::DeviceRef(pool.device)) == threads);
    }
  }
}

TEST_CASE("parallel_for rethrows an exception of a unit, and can be called again") {
  for (const int threads : {1, 2, 3}) {
    CAPTURE(threads);
    const Pool pool(threads);
    for (const Index bad : {0, 50, 99}) {
      const auto body = [&](Index unit) {
        if (unit == bad) throw std::runtime_error("unit failed");
      };
      CHECK_THROWS_WITH(parallel_for(pool.device, 100, body), "unit failed");
      CHECK_THROWS_WITH(parallel_for(Eigen::DefaultDevice(), 100, body), "unit failed");
      check_each_once(pool.device, 100);
    }
    CHECK_THROWS_AS(parallel_for(pool.device, 100, [](Index) { throw 1; }), int);
  }
}

TEST_CASE("parallel_for may be nested") {
  for (const int threads : {1, 2, 3}) {
    CAPTURE(threads);
    const Pool pool(threads);
    std::atomic<Index> sum{0};
    parallel_for(pool.device, 8,
                 [&](Index outer) { parallel_for(pool.device, 8, [&](Index inner) { sum += 8 * outer + inner; }); });
    CHECK(sum == 63 * 64 / 2);
  }
}

TEST_CASE("parallel_for called from a pool thread does not wait for that pool") {
  const Pool pool(1);
  std::atomic<Index> sum{0};
  Eigen::Barrier done(1);
  pool.device.enqueueNoNotification([&] {
    parallel_for(pool.device, 10, [&](Index unit) { sum += unit; });
    done.Notify();
  });
  done.Wait();
  CHECK(sum == 45);
}

TEST_CASE("Two threads may share one pool") {
  const Pool pool(2);
  const auto repeat = [&] {
    for (int call = 0; call < 200; ++call) {
      std::atomic<int> visits{0};
      parallel_for(pool.device, 16, [&](Index) { ++visits; });
      if (visits != 16) throw std::logic_error("a unit was lost");
    }
  };
  std::thread other(repeat);
  CHECK_NOTHROW(repeat());
  other.join();
}

TEST_CASE("A call does not wait for a thread of the pool that is busy elsewhere, nor is disturbed by it later") {
  Eigen::Barrier release(1), busy(2);  // before the pool, whose threads may still wake from them when this ends
  const Pool pool(2);
  for (int thread = 0; thread < 2; ++thread)
    pool.device.enqueueNoNotification([&] {
      busy.Notify();
      release.Wait();
    });
  busy.Wait();
  for (int call = 0; call < 100; ++call) check_each_once(pool.device, 7);
  release.Notify();
  for (int call = 0; call < 100; ++call) check_each_once(pool.device, 7);
}

TEST_CASE("A ticking device ticks between units, on the caller's thread") {
  int ticks = 0;
  const auto caller = std::this_thread::get_id();
  const auto tick = [&] {
    if (std::this_thread::get_id() == caller) ++ticks;
  };
  const auto ticks_of = [&](const heed::DeviceRef& device, Index count) {
    ticks = 0;
    check_each_once(device.ticking(tick), count);
    return ticks;
  };
  CHECK(ticks_of(Eigen::DefaultDevice(), 7) == 7);
  CHECK(ticks_of(Eigen::DefaultDevice(), 0) == 0);
  for (const int threads : {1, 2, 3}) {
    const Pool pool(threads);
    const int counted = ticks_of(pool.device, 100);
    CHECK((threads == 1 ? counted == 100 : counted <= 100));
    CHECK(heed::thread_count(heed::DeviceRef(pool.device).ticking(tick)) == threads);
    const auto failing = [] { throw std::runtime_error("tick failed"); };
    CHECK_THROWS_WITH(parallel_for(heed::DeviceRef(Eigen::DefaultDevice()).ticking(failing), 10, [](Index) {}),
                      "tick failed");
    check_each_once(pool.device, 100);
  }
}
