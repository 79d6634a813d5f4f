// SPDX-License-Identifier: Apache-2.0
// Where an operator runs: on the calling thread, or on the caller's Eigen::ThreadPoolDevice.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
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

  /// The same device, whose user calls tick() between the units of its work, on the calling thread: for what must be
  /// looked after during a long call, such as messages under way. `tick` must outlive it.
  template <class Tick>
  DeviceRef ticking(const Tick& tick) const {
    DeviceRef result = *this;
    result.tick_ = &tick;
    result.call_tick_ = [](const void* callable) { (*static_cast<const Tick*>(callable))(); };
    return result;
  }
  bool ticks() const { return call_tick_ != nullptr; }
  void tick() const {
    if (call_tick_) call_tick_(tick_);
  }

 private:
  const Eigen::ThreadPoolDevice* thread_pool_ = nullptr;
  const void* tick_ = nullptr;
  void (*call_tick_)(const void* tick) = nullptr;
};

/// Eigen::DefaultDevice (the calling thread), Eigen::ThreadPoolDevice (the calling thread and the pool's), or a
/// DeviceRef to one of them. heed starts no thread of its own.
template <class D>
concept Device =
    std::same_as<D, Eigen::DefaultDevice> || std::same_as<D, Eigen::ThreadPoolDevice> || std::same_as<D, DeviceRef>;

namespace detail {

// Work shared by the threads of one parallel_for. The caller waits for the helpers that have begun, not for those that
// the pool has yet to wake: they may come when the call is long over, so the object is never freed but taken from a
// list and put back, and a helper joins only the generation that it was scheduled for.
class SharedWork {
 public:
  Index count = 0;
  void* body = nullptr;
  void (*run)(void* body, Index first, Index last) = nullptr;

  static SharedWork& take() {
    const std::lock_guard lock(list_mutex_);
    SharedWork* const work = list_ ? list_ : new SharedWork;
    list_ = work->next_in_list_;
    return *work;
  }

  std::uint64_t generation() const { return state_.load(std::memory_order_relaxed) / kGeneration; }

  void help(std::uint64_t generation) {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    do {
      if (state / kGeneration != generation) return;
    } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
    drain();
    if (state_.fetch_sub(1, std::memory_order_release) % kGeneration == 1) state_.notify_one();
  }

  /// The caller's share of the work; then nobody joins any more. Gives the object back and rethrows what a unit threw.
  void finish(const DeviceRef& device) {
    drain(device);
    std::uint64_t state = generation() * kGeneration;
    while (!state_.compare_exchange_weak(state, state + kGeneration, std::memory_order_acquire)) {
      if (state % kGeneration == 0) continue;
      state_.wait(state);
      state = generation() * kGeneration;
    }
    next_.store(0, std::memory_order_relaxed);
    const std::exception_ptr error = std::exchange(error_, nullptr);
    {
      const std::lock_guard lock(list_mutex_);
      next_in_list_ = std::exchange(list_, this);
    }
    if (error) std::rethrow_exception(error);
  }

 private:
  static constexpr std::uint64_t kGeneration = 1 << 16;  // below it, the helpers at work

  void drain(const DeviceRef& device = {}) {
    try {
      for (Index unit; (unit = next_.fetch_add(1, std::memory_order_relaxed)) < count; device.tick())
        run(body, unit, unit + 1);
    } catch (...) {
      next_.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  inline static constinit std::mutex list_mutex_;
  inline static constinit SharedWork* list_ = nullptr;

  std::atomic<std::uint64_t> state_{0};
  std::atomic<Index> next_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  SharedWork* next_in_list_ = nullptr;
};

// Calls run(body, first, last) for ranges that make up [0, count). Compiled once, and with it a body's code: of its own
// in each parallel_for, with a loop beside the threads', it was a twentieth of the time to compile an operator.
HEED_NOINLINE inline void run_units(const DeviceRef& device, Index count, void* body,
                                    void (*run)(void* body, Index first, Index last)) {
  const Eigen::ThreadPoolDevice* const pool = device.thread_pool();
  const Index threads = pool ? std::min<Index>(pool->numThreads(), count) : 1;
  const bool within_pool = pool && pool->currentThreadId() >= 0;
  if (within_pool || (threads <= 1 && !device.ticks())) {
    run(body, 0, count);
    return;
  }
  SharedWork& work = SharedWork::take();
  work.count = count;
  work.body = body;
  work.run = run;
  // Two words, which std::function keeps without allocating.
  const auto help = [work = &work, generation = work.generation()] { work->help(generation); };
  for (Index helper = 1; helper < threads; ++helper) pool->getPool()->Schedule(help);
  work.finish(device);
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
  detail::run_units(device, count, const_cast<void*>(static_cast<const void*>(&body)),
                    [](void* callable, Index first, Index last) {
                      for (Index unit = first; unit < last; ++unit) (*static_cast<Callable*>(callable))(unit);
                    });
}
template <class Body>
void parallel_for(const Eigen::ThreadPoolDevice& device, Index count, Body&& body) {
  parallel_for(DeviceRef(device), count, std::forward<Body>(body));
}

}  // namespace heed::inline HEED_ISA
