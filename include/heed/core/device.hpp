// SPDX-License-Identifier: Apache-2.0
// Where an operator runs: on the calling thread, or on the caller's Eigen::ThreadPoolDevice.
#pragma once

#include <atomic>
#include <concepts>
#include <exception>
#include <mutex>
#include <utility>

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// A device that is chosen at run time, made implicitly from either of Eigen's: code that takes one is compiled once.
/// It refers to a ThreadPoolDevice, which must outlive it.
class DeviceRef {
 public:
  DeviceRef() = default;
  DeviceRef(const Eigen::DefaultDevice&) {}                                    // NOLINT: implicit
  DeviceRef(const Eigen::ThreadPoolDevice& device) : thread_pool_(&device) {}  // NOLINT: implicit

  /// Null: the calling thread.
  const Eigen::ThreadPoolDevice* thread_pool() const { return thread_pool_; }

 private:
  const Eigen::ThreadPoolDevice* thread_pool_ = nullptr;
};

/// Eigen::DefaultDevice (the calling thread), Eigen::ThreadPoolDevice (the calling thread and the pool's), or a
/// DeviceRef to one of them. heed starts no thread of its own.
template <class D>
concept Device =
    std::same_as<D, Eigen::DefaultDevice> || std::same_as<D, Eigen::ThreadPoolDevice> || std::same_as<D, DeviceRef>;

namespace detail {

// Work shared by the threads of one parallel_for. It lives on the caller's stack: the caller waits until every task
// that it has scheduled is done with it, and a task captures one pointer, which std::function keeps without allocating.
struct SharedWork {
  std::atomic<Index> next{0};
  Index count = 0;
  void* body = nullptr;
  void (*run)(void* body, Index first, Index last) = nullptr;
  Eigen::Barrier helpers;
  std::mutex error_mutex;
  std::exception_ptr error;

  explicit SharedWork(unsigned helper_count) : helpers(helper_count) {}

  void drain() {
    try {
      for (Index unit; (unit = next.fetch_add(1, std::memory_order_relaxed)) < count;) run(body, unit, unit + 1);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }
};

// Calls run(body, first, last) for ranges that make up [0, count). Compiled once, and with it a body's code: of its own
// in each parallel_for, with a loop beside the threads', it was a twentieth of the time to compile an operator.
HEED_NOINLINE inline void run_units(const Eigen::ThreadPoolDevice* pool, Index count, void* body,
                                    void (*run)(void* body, Index first, Index last)) {
  const Index threads = pool ? std::min<Index>(pool->numThreads(), count) : 1;
  if (threads <= 1 || pool->currentThreadId() >= 0) {
    run(body, 0, count);
    return;
  }
  SharedWork work(unsigned(threads - 1));
  work.count = count;
  work.body = body;
  work.run = run;
  for (Index helper = 1; helper < threads; ++helper)
    pool->getPool()->Schedule([shared = &work] {
      shared->drain();
      shared->helpers.Notify();
    });
  work.drain();
  work.helpers.Wait();
  if (work.error) std::rethrow_exception(work.error);
}

}  // namespace detail

inline int thread_count(const Eigen::DefaultDevice&) { return 1; }
inline int thread_count(const Eigen::ThreadPoolDevice& device) { return device.numThreads(); }
inline int thread_count(const DeviceRef& device) {
  return device.thread_pool() ? device.thread_pool()->numThreads() : 1;
}

template <class Body>
void parallel_for(const Eigen::DefaultDevice&, Index count, Body&& body) {
  for (Index unit = 0; unit < count; ++unit) body(unit);
}

/// Calls body(unit) for every unit in [0, count), in any order, each once. A unit's result must not depend on the
/// thread that runs it: that is what makes an operator give the same bits on any number of threads. An exception in a
/// unit is rethrown here. Called from within the pool it runs on the calling thread alone, which cannot deadlock.
template <class Body>
void parallel_for(const DeviceRef& device, Index count, Body&& body) {
  using Callable = std::remove_reference_t<Body>;
  detail::run_units(device.thread_pool(), count, const_cast<void*>(static_cast<const void*>(&body)),
                    [](void* callable, Index first, Index last) {
                      for (Index unit = first; unit < last; ++unit) (*static_cast<Callable*>(callable))(unit);
                    });
}
template <class Body>
void parallel_for(const Eigen::ThreadPoolDevice& device, Index count, Body&& body) {
  parallel_for(DeviceRef(device), count, std::forward<Body>(body));
}

}  // namespace heed::inline HEED_ISA
