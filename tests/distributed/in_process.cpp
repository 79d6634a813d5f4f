// SPDX-License-Identifier: Apache-2.0
#include "heed/distributed/in_process.hpp"

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>

#include "catch.hpp"

using heed::Communicator;

TEST_CASE("Messages arrive in order, whatever order they are waited for in", "[threads]") {
  std::atomic<int> right{0};
  heed::run_in_process(3, [&](Communicator& comm) {
    const int to = (comm.rank() + 1) % 3, from = (comm.rank() + 2) % 3;
    std::array<int, 3> out{10 * comm.rank(), 10 * comm.rank() + 1, 10 * comm.rank() + 2}, in{};
    std::array<Communicator::Ticket, 3> received{};
    for (std::size_t i = 0; i < 3; ++i) received[i] = comm.receive(&in[i], sizeof(int), from, i == 1);
    for (std::size_t i = 0; i < 3; ++i) comm.wait(comm.send(&out[i], sizeof(int), to, i == 1));
    for (std::size_t i = 3; i-- > 0;) comm.wait(received[i]);
    heed::barrier(comm);
    if (in == std::array<int, 3>{10 * from, 10 * from + 1, 10 * from + 2} && comm.bytes_sent() == 3 * sizeof(int))
      ++right;
  });
  CHECK(right == 3);
}

TEST_CASE("A rank that throws ends the waiting of the others", "[threads]") {
  const auto run = [] {
    heed::run_in_process(4, [](Communicator& comm) {
      if (comm.rank() == 2) throw std::runtime_error("out of luck");
      heed::barrier(comm);
    });
  };
  CHECK_THROWS_AS(run(), std::runtime_error);
}

TEST_CASE("Ranks that disagree all throw the same", "[threads]") {
  std::array<std::string, 3> texts;
  heed::run_in_process(3, [&](Communicator& comm) {
    const heed::SharedFact facts[] = {{"the colour", 7}, {"the size", comm.rank() == 1 ? 5 : 4}};
    try {
      heed::require_same(comm, "paint", facts);
    } catch (const heed::Error& error) {
      texts[std::size_t(comm.rank())] = error.what();
    }
  });
  for (const std::string& text : texts)
    CHECK(text == "paint: the ranks disagree on the size: rank 0 has 4, rank 1 has 5");
}

TEST_CASE("progress ends no transfer", "[threads]") {
  std::atomic<int> right{0};
  heed::run_in_process(2, [&](Communicator& comm) {
    const int peer = 1 - comm.rank(), out = 7 + comm.rank();
    int in = 0;
    comm.progress();
    const auto received = comm.receive(&in, sizeof in, peer, 0);
    comm.progress();
    const auto sent = comm.send(&out, sizeof out, peer, 0);
    comm.progress();
    comm.wait(sent);
    comm.wait(received);
    if (in == 7 + peer) ++right;
  });
  CHECK(right == 2);
}

TEST_CASE("Transfers that do not fit", "[threads]") {
  heed::InProcessGroup group(2);
  int x = 0;
  CHECK_THROWS_AS(group[0].send(&x, sizeof x, 0, 0), heed::Error);
  CHECK_THROWS_AS(group[0].receive(&x, sizeof x, 2, 0), heed::Error);
  group[0].wait(group[0].send(&x, sizeof x, 1, 0));
  CHECK_THROWS_AS(group[1].wait(group[1].receive(&x, 2, 0, 0)), heed::Error);
  CHECK_THROWS_AS(heed::InProcessGroup(0), heed::Error);
}
