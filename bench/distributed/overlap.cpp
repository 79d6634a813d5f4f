// SPDX-License-Identifier: Apache-2.0
// Whether the ring's transfers hide behind its computation: two ranks, each with a part of n tokens, attend to their
// own part and to the other's.
//   bench_distributed_overlap [heads]                two threads of this process
//   mpirun -n 2 bench_distributed_overlap [heads]    two processes, where heed was configured with MPI
// Columns: the computation alone (two steps), the transfer alone, one after the other (`waits`), and the
// double-buffered ring, where the transfer is under way during the first step: `ring` leaves it alone, `ticks` has the
// engine call Communicator::progress() between its units of work. Milliseconds, medians of interleaved rounds on rank
// 0; overlap is (compute + transfer - both) / min(compute of a step, transfer), 1 for all and 0 for none.
#ifdef HEED_BENCH_MPI
#include "heed/distributed/mpi.hpp"
#endif

#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <vector>

#include "common.hpp"
#include "heed/attention/merge.hpp"
#include "heed/distributed/in_process.hpp"
#include "heed/distributed/key_ring.hpp"

namespace {

using heed::Communicator;
using heed::Index;
using heed::Tensor;
using heed::detail::KeyPart;

constexpr Index kWidth = 64;
constexpr int kRounds = 7;

struct Step {
  Tensor<float, 4> q, out, part_out;
  Tensor<float, 3> lse, part_lse;

  Step(Index heads, Index tokens)
      : q(1, heads, tokens, kWidth), out(q), part_out(q), lse(1, heads, tokens), part_lse(lse) {
    bench::fill_random(q, 1);
    out.setZero();
    lse.setConstant(-std::numeric_limits<float>::infinity());
  }

  // A step of the ring.
  void operator()(const heed::DeviceRef& device, KeyPart<float>& part) {
    heed::softmax_attention()(device, q, part.k(), part.v(), heed::into(part_out, part_lse));
    heed::merge_attention_state(device, heed::into(out, lse), part_out, part_lse);
  }
};

void measure(Communicator& comm, Index heads, Index tokens) {
  Step step(heads, tokens);
  KeyPart<float> own({1, heads, tokens, kWidth}, {1, heads, tokens, kWidth}), other = own.empty_like();
  own.set_zero();
  other.set_zero();
  const int peer = 1 - comm.rank();
  const heed::detail::KeyRing ring{.positions = 2, .position = comm.rank(), .uses_of = {}};
  const auto timed = [&](const std::function<void()>& call) {
    return [&comm, call] {
      heed::barrier(comm);
      const double start = bench::now(bench::Clock::wall);
      call();
      heed::barrier(comm);
      return bench::now(bench::Clock::wall) - start;
    };
  };
  const auto exchange = [&] { comm.wait(std::array{other.receive(comm, peer, 0), own.send(comm, peer, 0)}); };
  const auto tick = [&] { comm.progress(); };
  const heed::DeviceRef plain, ticking = plain.ticking(tick);
  const auto ring_on = [&](const heed::DeviceRef& device) {
    return timed([&, device] {
      heed::detail::visit_keys(comm, ring, own, [&](Index, Index, KeyPart<float>* part) { step(device, *part); });
    });
  };
  const auto steps = [&](KeyPart<float>& second) {
    step(plain, own);
    step(plain, second);
  };
  const std::vector<std::function<double()>> ways{timed([&] { steps(own); }), timed(exchange), timed([&] {
                                                    exchange();
                                                    steps(other);
                                                  }),
                                                  ring_on(plain), ring_on(ticking)};
  for (const auto& way : ways) way();
  const auto times = bench::interleave(ways, kRounds);
  if (comm.rank() != 0) return;
  const auto ms = [&](std::size_t way) { return 1e3 * bench::median(times[way]); };
  const double compute = ms(0), transfer = ms(1);
  const auto overlap = [&](std::size_t way) {
    return (compute + transfer - ms(way)) / std::min(compute / 2, transfer);
  };
  std::printf("%8lld %6.1f %9.3f %9.3f %9.3f %9.3f %9.3f %8.2f %8.2f\n", static_cast<long long>(tokens),
              2.0 * sizeof(float) * double(heads * tokens * kWidth) / (1 << 20), compute, transfer, ms(2), ms(3), ms(4),
              overlap(3), overlap(4));
  std::fflush(stdout);
}

void measure_all(Communicator& comm, const char* where, Index heads) {
  if (comm.rank() == 0)
    std::printf("%s\n%8s %6s %9s %9s %9s %9s %9s %8s %8s\n", where, "tokens", "MiB", "compute", "transfer", "waits",
                "ring", "ticks", "overlap", "ticks'");
  for (const Index tokens : {512, 1024, 2048}) measure(comm, heads, tokens);
}

}  // namespace

int main(int argc, char** argv) {
  const Index heads = argc > 1 ? std::atoi(argv[1]) : 8;
#ifdef HEED_BENCH_MPI
  MPI_Init(&argc, &argv);
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks == 2) {
    heed::MpiCommunicator comm(MPI_COMM_WORLD);
    measure_all(comm, "two processes", heads);
  } else {
    heed::run_in_process(2, [&](Communicator& comm) { measure_all(comm, "two threads", heads); });
  }
  MPI_Finalize();
#else
  heed::run_in_process(2, [&](Communicator& comm) { measure_all(comm, "two threads", heads); });
#endif
}
