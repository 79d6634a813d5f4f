// SPDX-License-Identifier: Apache-2.0
// Communicator: what the ranks of a distributed operator say to each other with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heed/core/error.hpp"
#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// One rank's end of a group of ranks: messages of bytes, which one thread at a time sends and receives. Messages of
/// one tag from one rank to another arrive in the order in which they were sent.
class Communicator {
 public:
  /// A transfer under way; it ends in wait().
  enum class Ticket : std::uint64_t {};

  Communicator(int rank, int size) : rank_(rank), size_(size) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Begins to send, to another rank; `data` must keep its values until wait().
  Ticket send(const void* data, std::size_t bytes, int to, int tag) {
    check_peer("Communicator::send", to);
    bytes_sent_ += bytes;
    return start_send(data, bytes, to, tag);
  }
  /// Begins to receive, from another rank, a message of exactly `bytes`; `data` is written by wait() at the latest.
  Ticket receive(void* data, std::size_t bytes, int from, int tag) {
    check_peer("Communicator::receive", from);
    return start_receive(data, bytes, from, tag);
  }
  /// Ends a transfer. Throws heed::Error when it failed: a message of another size, a rank that is gone.
  void wait(Ticket ticket) { finish(ticket); }
  void wait(std::span<const Ticket> tickets) {
    for (const Ticket ticket : tickets) finish(ticket);
  }

  /// Moves transfers on that are under way, and returns at once. Where messages move only inside of the communicator's
  /// calls, as those of MPI do, a long computation beside a transfer calls it now and then.
  void progress() { move_on(); }

  /// Bytes in all messages that this rank has sent.
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  virtual Ticket start_send(const void* data, std::size_t bytes, int to, int tag) = 0;
  virtual Ticket start_receive(void* data, std::size_t bytes, int from, int tag) = 0;
  virtual void finish(Ticket ticket) = 0;
  virtual void move_on() {}

  void check_peer(std::string_view where, int peer) const {
    require(peer >= 0 && peer < size_ && peer != rank_, where, "rank ", rank_, " of ", size_,
            " has no other rank of number ", peer);
  }

  int rank_, size_;
  std::uint64_t bytes_sent_ = 0;
};

namespace detail {

/// Tags of heed's own messages.
enum MessageTag : int {
  kFacts,
  kBarrier,
  kToHeads,
  kToTokens,
  kPart,
  kWindowPart,
  kGradient,
  kGradientHome,
  kHalo,
  kSampled,
  kUses,
  kFault
};

}  // namespace detail

/// Returns when all ranks have called it. Messages of no bytes, in log2(size) rounds.
inline void barrier(Communicator& comm) {
  for (int reach = 1; reach < comm.size(); reach *= 2) {
    std::byte none{};
    const Communicator::Ticket tickets[] = {
        comm.send(&none, 0, (comm.rank() + reach) % comm.size(), detail::kBarrier),
        comm.receive(&none, 0, (comm.rank() - reach + comm.size()) % comm.size(), detail::kBarrier)};
    comm.wait(tickets);
  }
}

/// A number that every rank must have the same of: an option or a size.
struct SharedFact {
  std::string name;
  std::int64_t value;
};

/// Compares the facts of all ranks. Where they differ every rank throws the same heed::Error, naming the first fact
/// that does, so that none waits for a message that never comes. All ranks must call it, with as many facts; it sends 8
/// bytes per fact to each of the others.
inline void require_same(Communicator& comm, std::string_view where, std::span<const SharedFact> facts) {
  const std::size_t count = facts.size(), bytes = count * sizeof(std::int64_t);
  std::vector<std::int64_t> all(count * std::size_t(comm.size()));
  const auto of = [&](int rank) { return all.data() + std::size_t(rank) * count; };
  std::transform(facts.begin(), facts.end(), of(comm.rank()), [](const SharedFact& fact) { return fact.value; });
  std::vector<Communicator::Ticket> tickets;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank == comm.rank()) continue;
    tickets.push_back(comm.send(of(comm.rank()), bytes, rank, detail::kFacts));
    tickets.push_back(comm.receive(of(rank), bytes, rank, detail::kFacts));
  }
  comm.wait(tickets);
  for (std::size_t fact = 0; fact < count; ++fact)
    for (int rank = 1; rank < comm.size(); ++rank)
      require(of(rank)[fact] == of(0)[fact], where, "the ranks disagree on ", facts[fact].name, ": rank 0 has ",
              of(0)[fact], ", rank ", rank, " has ", of(rank)[fact]);
}

/// check(), which each rank may pass or throw heed::Error from: where some throw, every rank throws the error of the
/// first of them. All ranks must call it; it sends 8 bytes to each of the others.
template <class Check>
void check_together(Communicator& comm, const Check& check) {
  std::string text;
  std::vector<std::int64_t> lengths(std::size_t(comm.size()), 0);
  std::int64_t& own = lengths[std::size_t(comm.rank())];
  try {
    check();
  } catch (const Error& error) {
    text = error.what();
    own = std::int64_t(text.size()) + 1;
  }
  std::vector<Communicator::Ticket> tickets;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank == comm.rank()) continue;
    tickets.push_back(comm.send(&own, sizeof own, rank, detail::kFault));
    tickets.push_back(comm.receive(&lengths[std::size_t(rank)], sizeof own, rank, detail::kFault));
  }
  comm.wait(tickets);
  const auto failed = std::find_if(lengths.begin(), lengths.end(), [](std::int64_t length) { return length > 0; });
  if (failed == lengths.end()) return;
  const int first = int(failed - lengths.begin());
  tickets.clear();
  if (first != comm.rank()) {
    text.resize(std::size_t(*failed - 1));
    tickets.push_back(comm.receive(text.data(), text.size(), first, detail::kFault));
  }
  for (int rank = 0; rank < comm.size() && first == comm.rank(); ++rank)
    if (rank != first) tickets.push_back(comm.send(text.data(), text.size(), rank, detail::kFault));
  comm.wait(tickets);
  throw Error(text);
}

}  // namespace heed::inline HEED_ISA
