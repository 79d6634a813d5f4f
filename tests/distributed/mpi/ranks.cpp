// SPDX-License-Identifier: Apache-2.0
// Under mpirun with any number of ranks: the same bits as the ranks in one process, and errors that no rank waits in.
#include "heed/distributed/mpi.hpp"

#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/in_process.hpp"

using heed::Communicator;
using heed::ContextParallelAttention;
using heed::ContextStrategy;
using heed::Index;
using heed::Tensor;

namespace {

int failures = 0;

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

template <int Rank>
Tensor<float, Rank> numbers(const std::array<Index, std::size_t(Rank)>& sizes, unsigned seed) {
  Tensor<float, Rank> x;
  x.resize(sizes);
  for (Index i = 0; i < x.size(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    x.data()[i] = float(seed >> 8) / float(1 << 23) - 1;
  }
  return x;
}

// Forward and backward of the rank's tokens, {out, lse, dq, dk, dv}.
auto run(const ContextParallelAttention& attend, Communicator& comm, Index length) {
  const Index n = attend.slots(length);
  const auto seed = unsigned(comm.rank() + 1);
  const auto q = numbers<4>({1, 8, n, 5}, seed), k = numbers<4>({1, 4, n, 5}, seed + 10);
  const auto v = numbers<4>({1, 4, n, 3}, seed + 20), d_out = numbers<4>({1, 8, n, 3}, seed + 30);
  const auto d_lse = numbers<3>({1, 8, n}, seed + 40);
  auto forward = attend(comm, length, q, k, v);
  auto gradients = attend.backward(comm, length, q, k, v, std::get<0>(forward), std::get<1>(forward), d_out, d_lse);
  return std::tuple_cat(std::move(forward), std::move(gradients));
}

template <int Rank>
bool same_bits(const Tensor<float, Rank>& a, const Tensor<float, Rank>& b) {
  return a.dimensions() == b.dimensions() &&
         std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
}

void compare(const ContextParallelAttention& attend, Communicator& comm, Index length) {
  using Result = decltype(run(attend, comm, length));
  const std::uint64_t before = comm.bytes_sent();
  const Result got = run(attend, comm, length);
  const std::uint64_t sent = comm.bytes_sent() - before;
  std::vector<Result> want(std::size_t(comm.size()));
  std::vector<std::uint64_t> want_sent(want.size());
  heed::run_in_process(comm.size(), [&](Communicator& in_process) {
    want[std::size_t(in_process.rank())] = run(attend, in_process, length);
    want_sent[std::size_t(in_process.rank())] = in_process.bytes_sent();
  });
  const auto own = std::size_t(comm.rank());
  const std::string name = "strategy " + std::to_string(int(attend.options.strategy)) + ", layout " +
                           std::to_string(int(attend.options.layout)) + ", length " + std::to_string(length);
  check(sent == want_sent[own], name + ": bytes sent");
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (check(same_bits(std::get<I>(got), std::get<I>(want[own])), name + ": result " + std::to_string(I)), ...);
  }
  (std::make_index_sequence<5>());
}

void compare_all(Communicator& comm) {
  const Index world = comm.size();
  for (const auto layout :
       {heed::SequenceLayout::kZigzag, heed::SequenceLayout::kContiguous, heed::SequenceLayout::kStriped})
    for (const Index length : {1, 29}) {
      const auto with = [&](ContextStrategy strategy, Index ulysses, Index inner) {
        compare({{.strategy = strategy,
                  .ulysses_size = ulysses,
                  .ring_size = world / ulysses,
                  .inner_ring_size = inner,
                  .layout = layout,
                  .causal = true}},
                comm, length);
      };
      with(ContextStrategy::kRing, 1, 1);
      with(ContextStrategy::kAllGather, 1, 1);
      if (world != 3) with(ContextStrategy::kUlysses, world, 1);
      if (world % 2 == 0) with(ContextStrategy::kUsp, 2, 1);
      if (world % 2 == 0) with(ContextStrategy::kDoubleRing, 1, 2);
    }
}

void check_disagreement(Communicator& comm) {
  if (comm.size() == 1) return;
  const ContextParallelAttention attend{{.ring_size = comm.size()}};
  const Index n = comm.rank() == 1 ? 3 : 2;
  const auto q = numbers<4>({1, 1, n, 4}, 1);
  std::string text = "nothing";
  try {
    attend(comm, 2 * comm.size(), q, q, q);
  } catch (const heed::Error& error) {
    text = error.what();
  }
  check(text.find("the ranks disagree on axis 2 of q: rank 0 has 2, rank 1 has 3") != std::string::npos,
        "ranks that disagree, got: " + text);
}

void check_message_sizes(Communicator& comm) {
  if (comm.size() == 1) return;
  for (const std::size_t expected : {std::size_t(4), std::size_t(12)}) {
    char data[16] = {};
    bool failed = false;
    if (comm.rank() == 0) comm.wait(comm.send(data, 8, 1, 100));
    if (comm.rank() == 1) {
      try {
        comm.wait(comm.receive(data, expected, 0, 100));
      } catch (const heed::Error&) {
        failed = true;
      }
      check(failed, "a message of another size");
    }
    heed::barrier(comm);
  }
}

// progress() between the start and the end of transfers, too large to be buffered, changes nothing of them.
void check_progress(Communicator& comm) {
  if (comm.size() == 1) return;
  const int right = (comm.rank() + 1) % comm.size(), left = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<int> out(std::size_t(1) << 19, comm.rank()), in(out.size(), -1);
  const std::size_t bytes = out.size() * sizeof(int);
  const Communicator::Ticket tickets[] = {comm.receive(in.data(), bytes, left, 101),
                                          comm.send(out.data(), bytes, right, 101)};
  for (int i = 0; i < 100; ++i) comm.progress();
  comm.wait(tickets);
  check(in == std::vector<int>(in.size(), left), "transfers beside progress");
  heed::barrier(comm);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  try {
    heed::MpiCommunicator comm(MPI_COMM_WORLD), in_parts(MPI_COMM_WORLD, 100);
    compare_all(comm);
    compare_all(in_parts);
    check_disagreement(comm);
    check_message_sizes(comm);
    check_progress(comm);
    check_progress(in_parts);
    heed::barrier(comm);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return failures == 0 ? 0 : 1;
}
