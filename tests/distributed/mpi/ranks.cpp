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
template <class Rule>
auto run(const ContextParallelAttention& attend, Communicator& comm, Index length, const Rule& rule) {
  const Index n = attend.slots(length);
  const auto seed = unsigned(comm.rank() + 1);
  const auto q = numbers<4>({1, 8, n, 5}, seed), k = numbers<4>({1, 4, n, 5}, seed + 10);
  const auto v = numbers<4>({1, 4, n, 3}, seed + 20), d_out = numbers<4>({1, 8, n, 3}, seed + 30);
  const auto d_lse = numbers<3>({1, 8, n}, seed + 40);
  auto forward = attend(comm, length, q, k, v, rule);
  auto gradients =
      attend.backward(comm, length, q, k, v, std::get<0>(forward), std::get<1>(forward), d_out, d_lse, rule);
  return std::tuple_cat(std::move(forward), std::move(gradients));
}

template <int Rank>
bool same_bits(const Tensor<float, Rank>& a, const Tensor<float, Rank>& b) {
  return a.dimensions() == b.dimensions() &&
         std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
}

template <class Rule>
void compare(const ContextParallelAttention& attend, Communicator& comm, Index length, const Rule& rule) {
  using Result = decltype(run(attend, comm, length, rule));
  const std::uint64_t before = comm.bytes_sent();
  const Result got = run(attend, comm, length, rule);
  const std::uint64_t sent = comm.bytes_sent() - before;
  std::vector<Result> want(std::size_t(comm.size()));
  std::vector<std::uint64_t> want_sent(want.size());
  heed::run_in_process(comm.size(), [&](Communicator& in_process) {
    want[std::size_t(in_process.rank())] = run(attend, in_process, length, rule);
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
                  .causal = true,
                  .bfloat16_wire = length == 29}},
                comm, length, heed::everything());
        compare({{.strategy = strategy,
                  .ulysses_size = ulysses,
                  .ring_size = world / ulysses,
                  .inner_ring_size = inner,
                  .layout = layout}},
                comm, length, (heed::causal() && heed::window_left(6)) || heed::sink_tokens(2));
      };
      with(ContextStrategy::kRing, 1, 1);
      with(ContextStrategy::kAllGather, 1, 1);
      if (world != 3) with(ContextStrategy::kUlysses, world, 1);
      if (world % 2 == 0) with(ContextStrategy::kUsp, 2, 1);
      if (world % 2 == 0) with(ContextStrategy::kDoubleRing, 1, 2);
    }
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const heed::Error& error) {
    return error.what();
  }
  return "nothing";
}

// The text holds `part`, and rank 0 has the same one.
void check_error(Communicator& comm, const std::string& text, const std::string& part) {
  check(text.find(part) != std::string::npos,
        "rank " + std::to_string(comm.rank()) + " wants: " + part + ", got: " + text);
  std::array<char, 512> first{};
  text.copy(first.data(), first.size() - 1);
  MPI_Bcast(first.data(), int(first.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  check(text == first.data(), "rank " + std::to_string(comm.rank()) + " has an error of its own: " + text);
}

// One rank, the last, has something else than the others.
void check_disagreement(Communicator& comm) {
  if (comm.size() == 1) return;
  using Options = ContextParallelAttention::Options;
  const Index n = 2, world = comm.size();
  const bool odd = comm.rank() == comm.size() - 1;
  const auto disagree = [&](const std::string& part, const Options& options, Index length,
                            const std::array<Index, 4>& q_sizes, const std::array<Index, 4>& k_sizes) {
    const auto q = numbers<4>(q_sizes, 1), k = numbers<4>(k_sizes, 2);
    const ContextParallelAttention attend{odd ? options : Options{.ring_size = world}};
    check_error(comm, error_of([&] { attend(comm, length, q, k, k); }), "the ranks disagree on " + part);
  };
  const std::array<Index, 4> sizes{1, 2, n, 4};
  const auto by_size = [&](const std::string& part, int axis, bool of_q) {
    std::array<Index, 4> other = sizes;
    if (odd) ++other[std::size_t(axis)];
    disagree(part, {.ring_size = world}, n * world, of_q ? other : sizes, of_q ? sizes : other);
  };
  for (int axis = 0; axis < 4; ++axis) {
    by_size("axis " + std::to_string(axis) + " of q: rank 0 has", axis, true);
    by_size("axis " + std::to_string(axis) + " of k: rank 0 has", axis, false);
  }
  const auto by_options = [&](const std::string& part, Options options) {
    options.ring_size = world;
    disagree(part, options, n * world, sizes, sizes);
  };
  by_options("the strategy", {.strategy = ContextStrategy::kAllGather});
  by_options("ulysses_size", {.ulysses_size = 2});
  by_options("inner_ring_size", {.inner_ring_size = world});
  by_options("the layout", {.layout = heed::SequenceLayout::kStriped});
  by_options("causal", {.causal = true});
  by_options("window_left", {.window_left = 1});
  by_options("having a scale", {.scale = 0.0});
  by_options("the bits of precision of k and v on the wire", {.bfloat16_wire = true});
  disagree("the length", {.ring_size = world}, n * world - odd, sizes, sizes);

  // A rule that does not fit on one rank.
  const auto q = numbers<4>(sizes, 1);
  Tensor<std::int32_t, 1> lengths(1);
  lengths(0) = odd ? std::int32_t(n * world + 1) : 1;
  const ContextParallelAttention attend{{.ring_size = world}};
  check_error(comm, error_of([&] { attend(comm, n * world, q, q, q, heed::key_lengths(lengths)); }),
              "lengths(0) = " + std::to_string(n * world + 1) + " is outside of 0 .. M");
  heed::barrier(comm);
}

// What divides nothing, the same on all ranks.
void check_sizes(Communicator& comm) {
  const Index world = comm.size();
  const auto fails = [&](const std::string& part, const ContextParallelAttention::Options& options, Index heads,
                         Index kv_heads, Index slots) {
    const auto q = numbers<4>({1, heads, slots, 4}, 1), k = numbers<4>({1, kv_heads, slots, 4}, 2);
    const ContextParallelAttention attend{options};
    check_error(comm, error_of([&] { attend(comm, 2 * world, q, k, k); }), part);
  };
  fails("the communicator has", {.ring_size = world + 1}, 1, 1, 2);
  fails("q must have shape", {.ring_size = world}, 1, 1, 3);
  fails("must be a multiple", {.ring_size = world}, 3, 2, 2);
  fails("must divide ring_size",
        {.strategy = ContextStrategy::kDoubleRing, .ring_size = world, .inner_ring_size = world + 1}, 1, 1, 2);
  if (world > 1)
    fails("must divide the number", {.strategy = ContextStrategy::kUlysses, .ulysses_size = world}, 1, 1, 2);
}

void check_message_sizes(Communicator& comm) {
  if (comm.size() == 1) return;
  for (const std::size_t expected : {std::size_t(4), std::size_t(12)}) {
    char data[16] = {};
    if (comm.rank() == 0) comm.wait(comm.send(data, 8, 1, 100));
    if (comm.rank() == 1)
      check(error_of([&] { comm.wait(comm.receive(data, expected, 0, 100)); }) != "nothing",
            "a message of another size");
    heed::barrier(comm);
  }
}

// An error code of MPI, and what is refused before MPI would end the program for it.
void check_calls(Communicator& comm) {
  const auto fails = [](const std::string& part, const auto& f) {
    const std::string text = error_of(f);
    check(text.find(part) != std::string::npos, "wants: " + part + ", got: " + text);
  };
  char data[4] = {};
  if (comm.size() > 1) {
    const int other = comm.rank() == 0 ? 1 : 0;
    fails("Communicator::send: MPI says: ", [&] { comm.send(data, 4, other, -7); });
    fails("Communicator::receive: MPI says: ", [&] { comm.receive(data, 4, other, -7); });
  }
  fails("has no other rank of number", [&] { comm.send(data, 4, comm.rank(), 1); });
  fails("has no other rank of number", [&] { comm.receive(data, 4, comm.size(), 1); });
  fails("no such transfer", [&] { comm.wait(Communicator::Ticket{123456789}); });
  fails("the largest message", [] { heed::MpiCommunicator(MPI_COMM_WORLD, 0); });
  fails("MPI_COMM_NULL", [] { heed::MpiCommunicator wrong(MPI_COMM_NULL); });
  heed::barrier(comm);
}

void check_that_mpi_runs() {
  check(error_of([] { heed::MpiCommunicator comm(MPI_COMM_WORLD); }).find("MPI does not run") != std::string::npos,
        "a communicator without MPI");
}

}  // namespace

// `ranks`: the checks. `ranks alone`: the last rank ends with an error that the others wait behind.
int main(int argc, char** argv) {
  check_that_mpi_runs();
  MPI_Init(&argc, &argv);
  try {
    heed::MpiCommunicator comm(MPI_COMM_WORLD), in_parts(MPI_COMM_WORLD, 100);
    if (argc > 1 && comm.rank() == comm.size() - 1) throw heed::Error("this rank alone");
    if (argc > 1) heed::barrier(comm);
    compare_all(comm);
    compare_all(in_parts);
    check_disagreement(comm);
    check_sizes(comm);
    check_message_sizes(comm);
    check_calls(comm);
    heed::barrier(comm);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  check_that_mpi_runs();
  return failures == 0 ? 0 : 1;
}
