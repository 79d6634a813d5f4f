// SPDX-License-Identifier: Apache-2.0
#include "heed/distributed/dual_scope_clips.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/gather.hpp"
#include "heed/distributed/in_process.hpp"
#include "support/finite_differences.hpp"

using heed::Communicator;
using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

namespace {

template <int Rank>
Tensor<double, Rank> clip_of(const Tensor<double, Rank>& whole, int rank, int ranks) {
  auto sizes = whole.dimensions(), start = sizes;
  sizes[2] /= ranks;
  start.fill(0);
  start[2] = rank * sizes[2];
  return whole.slice(start, sizes);
}

template <class X>
double difference(const Tensor<double, 4>& part, const X& whole, int rank) {
  double most = 0;
  const auto want = heed::const_view(whole).slice(2, rank * part.dimension(2), part.dimension(2));
  for (Index b = 0; b < part.dimension(0); ++b)
    for (Index h = 0; h < part.dimension(1); ++h)
      for (Index i = 0; i < part.dimension(2); ++i)
        for (Index d = 0; d < part.dimension(3); ++d) {
          const double error = std::abs(part(b, h, i, d) - want(b, h, i, d));
          if (!(error <= most)) most = error;
        }
  return most;
}

}  // namespace

TEST_CASE("Clips on ranks attend as the whole video does, and so do gradients and bytes", "[threads]") {
  for (const heed::DualScopeAttention::Options& options :
       {heed::DualScopeAttention::Options{.world_size = 1, .padding = 2, .top_k = 3},
        {.world_size = 2, .padding = 5, .top_k = 4, .token_num_scale = true, .local_bias = 0.5},
        {.world_size = 3, .padding = 2, .top_k = 7, .attn_scale = 1.2, .global_bias = 1},
        {.world_size = 4, .padding = 0, .top_k = 3},
        {.world_size = 4, .padding = 3, .top_k = 0}}) {
    const int ranks = int(options.world_size);
    const Index clip = 5, frames = clip * ranks;
    const auto q = random_tensor<double, 4>({2, 2, frames, 4}, 1), k = random_tensor<double, 4>({2, 2, frames, 4}, 2);
    const auto v = random_tensor<double, 4>({2, 2, frames, 3}, 3),
               d_out = random_tensor<double, 4>({2, 2, frames, 3}, 4);
    heed::Tape<double> tape;
    const heed::DualScopeAttention whole{options};
    const auto out = whole(tape.input(q), tape.input(k), tape.input(v));
    tape.backward(out, d_out);
    const auto want_q = tape.grad(q), want_k = tape.grad(k), want_v = tape.grad(v);

    std::vector<double> errors(std::size_t(ranks), 1);
    std::vector<std::uint64_t> sent(std::size_t(ranks), 0);
    const heed::DualScopeClips attend{options};
    heed::run_in_process(ranks, [&](Communicator& comm) {
      const int r = comm.rank();
      const auto own = [&](const Tensor<double, 4>& x) { return clip_of(x, r, ranks); };
      const auto [part, lse] = attend(comm, own(q), own(k), own(v));
      sent[std::size_t(r)] = comm.bytes_sent();
      const auto [d_q, d_k, d_v] = attend.backward(comm, own(q), own(k), own(v), part, lse, own(d_out));
      errors[std::size_t(r)] = std::max({difference(part, out.value(), r), difference(d_q, want_q, r),
                                         difference(d_k, want_k, r), difference(d_v, want_v, r)});
    });
    for (const double error : errors) CHECK(error < 1e-14);

    for (Index r = 0; r < ranks; ++r) {
      Index sampled = 0;
      for (const Index t : whole.global_frames(frames)) sampled += t / clip == r;
      const Index neighbours = (r > 0) + (r + 1 < ranks), numbers_of_frame = 2 * 2 * (4 + 3);
      const Index sent_frames = neighbours * options.padding + sampled * (ranks - 1);
      CHECK(Index(sent[std::size_t(r)]) == 8 * (sent_frames * numbers_of_frame + (8 + 12) * (ranks - 1)));
    }
  }
}

TEST_CASE("Clips that do not fit are the same error on every rank", "[threads]") {
  const auto error_of_ranks = [](const heed::DualScopeClips& attend, int ranks, Index odd_clip) {
    std::vector<std::string> texts(std::size_t(ranks), "nothing");
    heed::run_in_process(ranks, [&](Communicator& comm) {
      const Tensor<double, 4> x(1, 1, comm.rank() == 1 ? odd_clip : 4, 2);
      try {
        attend(comm, x, x, x);
      } catch (const heed::Error& error) {
        texts[std::size_t(comm.rank())] = error.what();
      }
    });
    for (const std::string& text : texts) CHECK(text == texts[0]);
    return texts[0];
  };
  CHECK(error_of_ranks({{.world_size = 3, .padding = 1}}, 3, 5) ==
        "dual_scope_attention: the ranks disagree on axis 2 of q: rank 0 has 4, rank 1 has 5");
  CHECK(error_of_ranks({{.world_size = 2, .padding = 1}}, 3, 4) ==
        "dual_scope_attention: world_size is 2, the communicator has 3 ranks");
  CHECK(error_of_ranks({{.world_size = 2, .padding = 5}}, 2, 4) ==
        "dual_scope_attention: padding must be in 0 .. T / world_size = 4, got 5");
}
