// SPDX-License-Identifier: Apache-2.0
// Attention over a sequence that no single machine needs to hold: every rank has a part of the tokens, keys and values
// travel, and the rule is causal with a sliding window and global tokens at the front (Beltagy et al. 2020).
//
//   mpirun -n 2 long_context [tokens 1000000] [window 1024] [global 64] [heads 4]
//
// Query i sees key j <= i where i - j <= window or j < global. 64 numbers per head, one head of keys and values for all
// heads of queries. The numbers are not from a model: q, k and v are hashes of head, token and channel, so that any
// rank can make any token's again, and check some of its rows against the definition in double. Without MPI, or without
// mpirun, it is one rank that holds everything. A rank computes on one thread.
// ctest: 3000 100 7
// mpirun: 1 2
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "heed/attention.hpp"
#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/in_process.hpp"
#ifdef HEED_EXAMPLES_MPI
#include "heed/distributed/mpi.hpp"
#endif

using heed::Communicator;
using heed::Index;
using heed::Tensor;

namespace {

constexpr Index kWidth = 64, kKeyHeads = 1, kCheckedRows = 16;

struct Job {
  Index tokens = 1000000, window = 1024, global = 64, heads = 4;
};

enum Source : std::uint64_t { kQuery = 1, kKey = 2, kValue = 3 };

// Uniform in -1 .. 1, by the finaliser of splitmix64.
float number(Source source, Index head, Index token, Index channel) {
  std::uint64_t x = (std::uint64_t(token) * kWidth + std::uint64_t(channel)) * 256 + std::uint64_t(head) * 4 + source;
  x *= 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return float(std::int64_t(x ^ (x >> 31)) >> 39) * 0x1p-24f;
}

// A rank's part of q, k or v, (1, heads, slots, width).
Tensor<float, 4> part_of(Source source, Index heads, const std::int32_t* tokens, Index slots) {
  Tensor<float, 4> x(1, heads, slots, kWidth);
  for (Index h = 0; h < heads; ++h)
    for (Index slot = 0; slot < slots; ++slot)
      for (Index d = 0; d < kWidth; ++d) x(0, h, slot, d) = tokens[slot] < 0 ? 0.f : number(source, h, tokens[slot], d);
  return x;
}

// The largest difference of a row from softmax(q k^T / sqrt(D)) v in double.
double error_of_row(const Job& job, Index head, Index token, const float* out, float lse) {
  double sum = 0;
  std::array<double, kWidth> mean{};
  for (Index j = 0; j <= token; ++j) {
    if (token - j > job.window && j >= job.global) continue;
    double s = 0;
    for (Index d = 0; d < kWidth; ++d)
      s += double(number(kQuery, head, token, d)) * double(number(kKey, 0, j, d)) / std::sqrt(double(kWidth));
    sum += std::exp(s);
    for (Index d = 0; d < kWidth; ++d) mean[std::size_t(d)] += std::exp(s) * double(number(kValue, 0, j, d));
  }
  double worst = std::abs(double(lse) - std::log(sum));
  for (Index d = 0; d < kWidth; ++d) worst = std::max(worst, std::abs(double(out[d]) - mean[std::size_t(d)] / sum));
  return worst;
}

struct Report {
  double tokens = 0, seconds = 0, megabytes_sent = 0, peak_megabytes = 0, error = 0;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One rank. False where a checked row is wrong anywhere.
bool run(Communicator& comm, const Job& job) {
  // With a window, consecutive tokens are fair and need no more than the window's keys of the rank before.
  const heed::ContextParallelAttention attend{{.ring_size = comm.size(), .layout = heed::SequenceLayout::kContiguous}};
  const auto rule = heed::causal() && (heed::window_left(job.window) || heed::sink_tokens(job.global));

  const Tensor<std::int32_t, 2> all_tokens = attend.tokens(job.tokens);
  const Index slots = all_tokens.dimension(1);
  const std::int32_t* const tokens = all_tokens.data() + comm.rank() * slots;
  const auto q = part_of(kQuery, job.heads, tokens, slots), k = part_of(kKey, kKeyHeads, tokens, slots),
             v = part_of(kValue, kKeyHeads, tokens, slots);

  heed::barrier(comm);
  const auto start = std::chrono::steady_clock::now();
  const auto [out, lse] = attend(comm, job.tokens, q, k, v, rule);
  Report own{.seconds = seconds_since(start), .megabytes_sent = double(comm.bytes_sent()) / 1e6};

  for (Index slot = 0; slot < slots; ++slot) own.tokens += tokens[slot] >= 0;
  for (Index row = 0; row < kCheckedRows && own.tokens > 0; ++row) {
    const Index slot = row * (Index(own.tokens) - 1) / (kCheckedRows - 1), head = row % job.heads;
    own.error = std::max(own.error, error_of_row(job, head, tokens[slot], &out(0, head, slot, 0), lse(0, head, slot)));
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  own.peak_megabytes = double(usage.ru_maxrss) * 1024 / 1e6;  // Linux counts in KiB

  constexpr int kTag = 1000;
  if (comm.rank() > 0) comm.wait(comm.send(&own, sizeof own, 0, kTag));
  double worst = own.error;
  if (comm.rank() == 0) {
    std::printf("rank      tokens  attention s   sent MB   peak RSS MB  largest error of %d rows\n", int(kCheckedRows));
    for (int rank = 0; rank < comm.size(); ++rank) {
      Report r = own;
      if (rank > 0) comm.wait(comm.receive(&r, sizeof r, rank, kTag));
      std::printf("%4d  %10.0f  %11.2f  %8.1f  %12.0f  %.1e\n", rank, r.tokens, r.seconds, r.megabytes_sent,
                  r.peak_megabytes, r.error);
      worst = std::max(worst, r.error);
    }
    const double numbers = double(job.tokens) * double(job.heads * (2 * kWidth + 1) + kKeyHeads * 2 * kWidth);
    std::printf("One process would hold %.0f MB of q, k, v, out and log-sum-exps; all scores would be %.0f GB.\n",
                4 * numbers / 1e6, 4e-9 * double(job.heads) * double(job.tokens) * double(job.tokens));
  }
  return worst < 1e-5;
}

}  // namespace

int main(int argc, char** argv) {
  Job job;
  Index* const arguments[] = {&job.tokens, &job.window, &job.global, &job.heads};
  for (int i = 1; i < argc; ++i) {
    char* end = nullptr;
    const Index value = i <= 4 ? std::strtoll(argv[i], &end, 10) : -1;
    if (!end || *end != '\0' || value < (i == 1 || i == 4 ? 1 : 0) || value > 1 << 30) {
      std::fprintf(stderr, "usage: [mpirun -n ranks] %s [tokens] [window] [global] [heads]\n", argv[0]);
      return 2;
    }
    *arguments[i - 1] = value;
  }
  bool good = true;
  const auto begin = [&](int ranks, const char* where) {
    std::printf("%lld tokens, window %lld, %lld global, %lld heads, synthetic numbers: %d rank%s%s\n",
                static_cast<long long>(job.tokens), static_cast<long long>(job.window),
                static_cast<long long>(job.global), static_cast<long long>(job.heads), ranks, ranks == 1 ? "" : "s",
                where);
  };
#ifdef HEED_EXAMPLES_MPI
  MPI_Init(&argc, &argv);
  try {
    heed::MpiCommunicator comm(MPI_COMM_WORLD);
    if (comm.rank() == 0) begin(comm.size(), comm.size() == 1 ? "; under mpirun -n 2 it is two" : " of MPI");
    good = run(comm, job);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
#else
  begin(1, " in this process; it was built without MPI");
  heed::run_in_process(1, [&](Communicator& comm) { good = run(comm, job); });
#endif
  return good ? 0 : 1;
}
