// SPDX-License-Identifier: Apache-2.0
// A short table of speed for the demo: heed against plain Eigen, one thread, and the share of this machine's limit that
// heed reaches, all measured in turn. Some seconds.
#include <cstdio>

#include "peers/session.hpp"

namespace {

template <class Attend>
void print_row(const char* label, const char* workload, const Attend& attend) {
  const bench::Session session = bench::open_session<float>(bench::Workload(workload), attend);
  const auto figures = bench::interleave({session.limit, session.heed, session.eigen}, 5);
  std::vector<double> shares;
  for (std::size_t i = 0; i < figures[0].size(); ++i) shares.push_back(session.share(figures[1][i], figures[0][i]));
  std::printf("%-42s %9.3f %9.3f %7.1fx %6.0f %% of %s\n", label, bench::median(figures[1]) * 1e3,
              bench::median(figures[2]) * 1e3, bench::median_ratio(figures[2], figures[1]), bench::median(shares) * 100,
              session.workload.bound_by_memory() ? "read bandwidth" : "FMA peak");
  std::fflush(stdout);
}

}  // namespace

int main() {
  const auto dense = heed::softmax_attention();
  const auto causal = heed::softmax_attention(heed::causal());
  const auto sliding = heed::softmax_attention(heed::causal() && heed::window_left(255));

  std::printf("%s, %s, one thread, float; FMA peak %.0f GFLOP/s\n\n", bench::cpu_model().c_str(),
              bench::instruction_set(), bench::multiply_add_peak<float>() / 1e9);
  std::printf("%-42s %9s %9s %8s   %s\n", "attention", "heed ms", "Eigen ms", "faster", "heed reaches");
  print_row("dense, 8 heads of 64, 2048 tokens", "sdpa B=1 H=8 N=2048 M=2048 D=64", dense);
  print_row("causal, the same", "sdpa B=1 H=8 N=2048 M=2048 D=64 causal=1", causal);
  print_row("sliding window of 256, 4096 tokens", "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1 window=256", sliding);
  print_row("ViT, 8 images, 12 heads of 64, 197 tokens", "sdpa B=8 H=12 N=197 M=197 D=64", dense);
  print_row("64 windows of 49 tokens, 3 heads of 32", "sdpa B=64 H=3 N=49 M=49 D=32", dense);
  print_row("decode, 32 heads on 8, cache of 8192 x 128", "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128", dense);
}
