// SPDX-License-Identifier: Apache-2.0
// The ranks of an MPI communicator. Link heed::mpi.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "heed/distributed/communicator.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline void require_mpi(int code, std::string_view where) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "an unknown error";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(where, "MPI says: ", text);
}
inline bool mpi_runs() {
  int begun = 0, ended = 0;
  require_mpi(MPI_Initialized(&begun), "MpiCommunicator");
  require_mpi(MPI_Finalized(&ended), "MpiCommunicator");
  return begun && !ended;
}
// Asked before the error handler is set, when MPI ends the program for what is wrong.
inline void require_usable(MPI_Comm comm) {
  require(mpi_runs(), "MpiCommunicator", "MPI does not run: it stands between MPI_Init and MPI_Finalize");
  require(comm != MPI_COMM_NULL, "MpiCommunicator", "the communicator is MPI_COMM_NULL");
}
inline int mpi_rank(MPI_Comm comm) {
  require_usable(comm);
  int rank = 0;
  require_mpi(MPI_Comm_rank(comm, &rank), "MpiCommunicator");
  return rank;
}
inline int mpi_size(MPI_Comm comm) {
  require_usable(comm);
  int size = 0;
  require_mpi(MPI_Comm_size(comm, &size), "MpiCommunicator");
  return size;
}

}  // namespace detail

/// heed's ranks are those of an MPI communicator, of which it makes a duplicate of its own: all ranks construct it, and
/// destroy it before MPI_Finalize.
///
///   MPI_Init(&argc, &argv);
///   {
///     heed::MpiCommunicator comm(MPI_COMM_WORLD);
///     const auto [out, lse] = attend(comm, N, q, k, v);
///   }
///   MPI_Finalize();
///
/// MPI is called by the thread that calls the communicator (MPI_THREAD_FUNNELED is enough), and its error codes become
/// heed::Error; so does MPI that does not run, and MPI_COMM_NULL. Messages of more than `largest` bytes go in several:
/// MPI counts in int. A rank that ends with an error of its own while others wait for it must end the program, by
/// MPI_Abort.
class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm, std::size_t largest = std::size_t(1) << 30)
      : Communicator(detail::mpi_rank(comm), detail::mpi_size(comm)), largest_(largest) {
    require(largest >= 1 && largest <= std::size_t(1) << 30, "MpiCommunicator",
            "the largest message must have 1 .. 2^30 bytes, got ", largest);
    detail::require_mpi(MPI_Comm_dup(comm, &comm_), "MpiCommunicator");
    detail::require_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MpiCommunicator");
  }
  ~MpiCommunicator() override {
    int ended = 0;
    MPI_Finalized(&ended);
    if (!ended) MPI_Comm_free(&comm_);
  }

 private:
  struct Transfer {
    std::vector<MPI_Request> requests;
    std::vector<int> expected;  // bytes of each part of a message that is received
  };

  // start(first byte, count, request) for each part of a message.
  template <class Start>
  void in_parts(std::size_t bytes, Transfer& transfer, const Start& start) const {
    std::size_t begin = 0;
    do {
      const std::size_t count = std::min(largest_, bytes - begin);
      transfer.requests.push_back(MPI_REQUEST_NULL);
      start(begin, int(count), &transfer.requests.back());
      begin += count;
    } while (begin < bytes);
  }
  Ticket keep(Transfer transfer) {
    transfers_.emplace(++last_ticket_, std::move(transfer));
    return Ticket{last_ticket_};
  }

  Ticket start_send(const void* data, std::size_t bytes, int to, int tag) override {
    Transfer transfer;
    in_parts(bytes, transfer, [&](std::size_t begin, int count, MPI_Request* request) {
      const void* from = static_cast<const std::byte*>(data) + begin;
      detail::require_mpi(MPI_Isend(from, count, MPI_BYTE, to, tag, comm_, request), "Communicator::send");
    });
    return keep(std::move(transfer));
  }

  Ticket start_receive(void* data, std::size_t bytes, int from, int tag) override {
    Transfer transfer;
    in_parts(bytes, transfer, [&](std::size_t begin, int count, MPI_Request* request) {
      void* to = static_cast<std::byte*>(data) + begin;
      detail::require_mpi(MPI_Irecv(to, count, MPI_BYTE, from, tag, comm_, request), "Communicator::receive");
      transfer.expected.push_back(count);
    });
    return keep(std::move(transfer));
  }

  void finish(Ticket ticket) override {
    constexpr std::string_view kName = "Communicator::wait";
    const auto found = transfers_.find(std::uint64_t(ticket));
    require(found != transfers_.end(), kName, "no such transfer is under way");
    Transfer transfer = std::move(found->second);
    transfers_.erase(found);
    for (std::size_t part = 0; part < transfer.requests.size(); ++part) {
      MPI_Status status;
      detail::require_mpi(MPI_Wait(&transfer.requests[part], &status), kName);
      if (transfer.expected.empty()) continue;
      int count = 0;
      detail::require_mpi(MPI_Get_count(&status, MPI_BYTE, &count), kName);
      require(count == transfer.expected[part], kName, "rank ", rank(), " expected ", transfer.expected[part],
              " bytes from rank ", status.MPI_SOURCE, ", got ", count);
    }
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::size_t largest_;
  std::map<std::uint64_t, Transfer> transfers_;
  std::uint64_t last_ticket_ = 0;
};

}  // namespace heed::inline HEED_ISA
