// SPDX-License-Identifier: Apache-2.0
// Ranks that are threads of one process.
#pragma once

#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "heed/distributed/communicator.hpp"

namespace heed::inline HEED_ISA {

/// A group of ranks in one process: group[r] is the end of rank r, for the thread that plays it. Messages are copied
/// when they are sent, so that a sender never waits.
class InProcessGroup {
 public:
  explicit InProcessGroup(int size) {
    require(size >= 1, "InProcessGroup", "the number of ranks must be 1 or more, got ", size);
    for (int rank = 0; rank < size; ++rank) ranks_.push_back(std::make_unique<Rank>(*this, rank, size));
  }

  int size() const { return int(ranks_.size()); }
  Communicator& operator[](int rank) { return *ranks_.at(std::size_t(rank)); }

  /// Ends the waiting of all ranks, now and later: each throws heed::Error.
  void abort() {
    for (const auto& rank : ranks_) rank->abort();
  }

 private:
  class Rank final : public Communicator {
   public:
    Rank(InProcessGroup& group, int rank, int size) : Communicator(rank, size), group_(group) {}

    void abort() {
      const std::lock_guard lock(mutex_);
      aborted_ = true;
      arrived_.notify_all();
    }

   private:
    using Channel = std::pair<int, int>;                  // the other rank, the tag
    using Message = std::tuple<int, int, std::uint64_t>;  // channel and number
    struct Pending {
      void* data;
      std::size_t bytes;
      Message message;
    };

    Ticket start_send(const void* data, std::size_t bytes, int to, int tag) override {
      Rank& target = *group_.ranks_[std::size_t(to)];
      const auto* first = static_cast<const std::byte*>(data);
      std::vector<std::byte> copy(first, first + bytes);
      const Message message{rank(), tag, sent_[Channel{to, tag}]++};
      const std::lock_guard lock(target.mutex_);
      target.inbox_.emplace(message, std::move(copy));
      target.arrived_.notify_all();
      return Ticket{0};
    }

    Ticket start_receive(void* data, std::size_t bytes, int from, int tag) override {
      const std::uint64_t number = received_[Channel{from, tag}]++;
      pending_.emplace(++last_ticket_, Pending{data, bytes, Message{from, tag, number}});
      return Ticket{last_ticket_};
    }

    void finish(Ticket ticket) override {
      if (ticket == Ticket{0}) return;  // a send is over when it begins
      const auto found = pending_.find(std::uint64_t(ticket));
      require(found != pending_.end(), "Communicator::wait", "no such transfer is under way");
      const Pending pending = found->second;
      pending_.erase(found);
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [&] { return aborted_ || inbox_.count(pending.message) > 0; });
      require(!aborted_, "Communicator::wait", "another rank has failed");
      const auto message = inbox_.extract(pending.message);
      lock.unlock();
      require(message.mapped().size() == pending.bytes, "Communicator::wait", "rank ", rank(), " expected ",
              pending.bytes, " bytes from rank ", std::get<0>(pending.message), ", got ", message.mapped().size());
      if (pending.bytes > 0) std::memcpy(pending.data, message.mapped().data(), pending.bytes);
    }

    InProcessGroup& group_;
    std::map<Channel, std::uint64_t> sent_, received_;
    std::map<std::uint64_t, Pending> pending_;
    std::uint64_t last_ticket_ = 0;
    std::mutex mutex_;  // of what follows, which other ranks reach
    std::condition_variable arrived_;
    std::map<Message, std::vector<std::byte>> inbox_;
    bool aborted_ = false;
  };

  std::vector<std::unique_ptr<Rank>> ranks_;
};

/// body(communicator) for each of `size` ranks, each on a thread of its own, of which rank 0 is the caller's: for tests
/// and for trying out in one process what will run on many machines. A rank that throws ends the waiting of the others;
/// the exception that came first is rethrown here when all have ended.
template <class Body>
void run_in_process(int size, const Body& body) {
  InProcessGroup group(size);
  std::mutex mutex;
  std::exception_ptr first;
  const auto play = [&](int rank) {
    try {
      body(group[rank]);
    } catch (...) {
      {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      }
      group.abort();
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < size; ++rank) threads.emplace_back(play, rank);
  play(0);
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace heed::inline HEED_ISA
