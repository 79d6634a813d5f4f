// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "heed/distributed/context_parallel_in_process.hpp"
#include "support/finite_differences.hpp"
#include "support/whole_sequence.hpp"

using heed::Communicator;
using heed::ContextParallelAttention;
using heed::ContextStrategy;
using heed::Index;
using heed::SequenceLayout;
using heed::Tensor;
using heed::test::difference;
using heed::test::kLayouts;
using heed::test::kWorlds;
using heed::test::parallel;
using heed::test::random_tensor;
using heed::test::Results;
using heed::test::Tensor4;
using heed::test::Whole;
using heed::test::World;

namespace {

// Attention and its gradients by the definition.
Results dense(const ContextParallelAttention::Options& o, const Whole& w) {
  Results r(w);
  const Index length = w.q.dimension(2), width = 3, value_width = 5;
  const Index group = w.q.dimension(1) / w.k.dimension(1);
  const double scale = o.scale.value_or(1 / std::sqrt(double(width)));
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < w.q.dimension(1); ++h)
      for (Index i = 0; i < length; ++i) {
        const Index g = h / group, first = o.window_left ? std::max<Index>(0, i - *o.window_left) : 0;
        const Index end = o.causal ? i + 1 : length;
        std::vector<double> p(std::size_t(length), 0.0);
        double sum = 0;
        for (Index j = first; j < end; ++j) {
          double s = 0;
          for (Index d = 0; d < width; ++d) s += w.q(b, h, i, d) * w.k(b, g, j, d);
          sum += p[std::size_t(j)] = std::exp(scale * s);
        }
        r.lse(b, h, i) = std::log(sum);
        double mean = -w.d_lse(b, h, i);
        std::vector<double> along(std::size_t(length), 0.0);
        for (Index j = first; j < end; ++j) {
          const double weight = p[std::size_t(j)] /= sum;
          for (Index d = 0; d < value_width; ++d) {
            r.out(b, h, i, d) += weight * w.v(b, g, j, d);
            r.d_v(b, g, j, d) += weight * w.d_out(b, h, i, d);
            along[std::size_t(j)] += w.d_out(b, h, i, d) * w.v(b, g, j, d);
          }
          mean += weight * along[std::size_t(j)];
        }
        for (Index j = first; j < end; ++j) {
          const double ds = scale * p[std::size_t(j)] * (along[std::size_t(j)] - mean);
          for (Index d = 0; d < width; ++d) {
            r.d_q(b, h, i, d) += ds * w.k(b, g, j, d);
            r.d_k(b, g, j, d) += ds * w.q(b, h, i, d);
          }
        }
      }
  return r;
}

}  // namespace

TEST_CASE("Every strategy and layout is attention on the whole sequence, and so are its gradients", "[threads]") {
  for (const Index length : {0, 1, 17, 24}) {
    const Whole whole(4, 2, length);
    for (const bool causal : {true, false})
      for (const std::optional<Index> window : {std::optional<Index>(), std::optional<Index>(5)}) {
        const Results want = dense({.causal = causal, .window_left = window}, whole);
        for (const World& world : kWorlds)
          for (const SequenceLayout layout : kLayouts) {
            const ContextParallelAttention attend{{.strategy = world.strategy,
                                                   .ulysses_size = world.ulysses,
                                                   .ring_size = world.ring,
                                                   .inner_ring_size = world.inner,
                                                   .layout = layout,
                                                   .causal = causal,
                                                   .window_left = window}};
            INFO("strategy " << int(world.strategy) << " of " << world.ulysses << " x " << world.ring << " / "
                             << world.inner << ", layout " << int(layout) << ", length " << length << ", causal "
                             << causal << ", window " << window.value_or(-1));
            CHECK(difference(parallel(attend, whole), want) < 1e-13);
          }
      }
  }
}

TEST_CASE("The same bits from run to run", "[threads]") {
  const Whole whole(4, 2, 30);
  for (const World& world : kWorlds) {
    const ContextParallelAttention attend{{.strategy = world.strategy,
                                           .ulysses_size = world.ulysses,
                                           .ring_size = world.ring,
                                           .inner_ring_size = world.inner,
                                           .causal = true,
                                           .scale = 0.7}};
    CHECK(difference(parallel(attend, whole), parallel(attend, whole)) == 0);
  }
}

TEST_CASE("Bytes sent are those of the strategy", "[threads]") {
  constexpr Index kBatch = 2, kHeads = 4, kKeyHeads = 2, kWidth = 3, kValueWidth = 5;
  const Whole whole(kHeads, kKeyHeads, 30);
  for (const World& world : kWorlds) {
    const ContextParallelAttention attend{{.strategy = world.strategy,
                                           .ulysses_size = world.ulysses,
                                           .ring_size = world.ring,
                                           .inner_ring_size = world.inner}};
    const Index n = attend.slots(30), u = world.ulysses, others = attend.ranks() - 1;
    const Index tokens = kBatch * n * kKeyHeads * (kWidth + kValueWidth);  // n U (Hk / U) (D + Dv)
    const Index queries = kBatch * n * kHeads;
    const Index exchanged = tokens + queries * (kWidth + kValueWidth + 1);
    const Index exchanged_back = 2 * tokens + queries * (2 * kWidth + 2 * kValueWidth + 2);
    const Index hops = world.ring > 1 ? world.ring - 1 + (world.strategy != ContextStrategy::kAllGather) : 0;
    const Results r = parallel(attend, whole);
    const Index facts = 12 + 12, facts_back = facts + 14;
    for (std::size_t rank = 0; rank < r.sent_forward.size(); ++rank) {
      CHECK(Index(r.sent_forward[rank]) == 8 * (facts * others + (world.ring - 1) * tokens + exchanged * (u - 1) / u));
      CHECK(Index(r.sent_backward[rank]) ==
            8 * (facts_back * others + (world.ring - 1 + hops) * tokens + exchanged_back * (u - 1) / u));
    }
  }
}

TEST_CASE("Gradients of variables, the ranks in this process", "[threads]") {
  auto q = random_tensor<double, 4>({1, 2, 5, 3}, 1), k = random_tensor<double, 4>({1, 2, 5, 3}, 2),
       v = random_tensor<double, 4>({1, 2, 5, 2}, 3);
  const ContextParallelAttention attend{
      {.strategy = ContextStrategy::kUsp, .ulysses_size = 2, .ring_size = 2, .causal = true}};
  heed::test::check_gradients([&](auto&, const auto& a, const auto& b,
                                  const auto& c) { return heed::context_parallel_attention(attend, a, b, c); },
                              q, k, v);
}

TEST_CASE("Each rank records on a tape of its own", "[threads]") {
  const Whole whole(4, 2, 17);
  const ContextParallelAttention attend{{.strategy = ContextStrategy::kUsp, .ulysses_size = 2, .ring_size = 2}};
  const auto tokens = attend.tokens(17);
  const Results want = parallel(attend, whole);
  Results got(whole);
  heed::run_in_process(4, [&](Communicator& comm) {
    const auto own = [&](const auto& x) { return heed::test::deal(x, tokens, comm.rank()); };
    const auto q = own(whole.q), k = own(whole.k), v = own(whole.v), d_out = own(whole.d_out);
    const auto d_lse = own(whole.d_lse);
    heed::Tape<double> tape;
    const auto q_var = tape.input(q);
    const auto [out, lse] = attend(comm, 17, q_var, tape.input(k), tape.constant(v));
    tape.backward(out, d_out, lse, d_lse);
    const auto put = [&]<class X>(const X& x, auto& into) {
      Tensor<double, X::rank> part;
      part.resize(x.sizes);
      std::copy_n(x.data, x.count(), part.data());
      heed::test::collect(part, tokens, comm.rank(), 0, into);
    };
    put(out.value(), got.out);
    put(lse.value(), got.lse);
    put(tape.grad(q_var), got.d_q);
    put(tape.grad(k), got.d_k);
  });
  got.d_v = want.d_v;
  CHECK(difference(got, want) == 0);
}

TEST_CASE("The schedule of a double ring goes through the windows") {
  const auto schedule =
      ContextParallelAttention{{.strategy = ContextStrategy::kDoubleRing, .ring_size = 4, .inner_ring_size = 2}}
          .schedule();
  const int want[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  for (Index rank = 0; rank < 4; ++rank)
    for (Index step = 0; step < 4; ++step) CHECK(schedule(rank, step) == want[rank][step]);
}

namespace {

// What each rank throws; rank 1 is given other tokens.
std::vector<std::string> errors(const ContextParallelAttention& attend, int ranks, Index heads, Index kv_heads,
                                Index slots, Index odd_slots) {
  std::vector<std::string> texts(std::size_t(ranks), "nothing");
  heed::run_in_process(ranks, [&](Communicator& comm) {
    const Index n = comm.rank() == 1 ? odd_slots : slots;
    const Tensor4 q(1, heads, n, 3), k(1, kv_heads, n, 3);
    try {
      attend(comm, 16, q, k, k);
    } catch (const heed::Error& error) {
      texts[std::size_t(comm.rank())] = error.what();
    }
  });
  return texts;
}

}  // namespace

TEST_CASE("What does not fit is the same error on every rank", "[threads]") {
  const auto all_say = [](const std::vector<std::string>& texts, const std::string& part) {
    for (const std::string& text : texts) {
      CHECK(text.find(part) != std::string::npos);
      CHECK(text == texts[0]);
    }
  };
  const ContextParallelAttention ring{{.ring_size = 3}};
  all_say(errors(ring, 3, 2, 2, 6, 5), "the ranks disagree on axis 2 of q: rank 0 has 6, rank 1 has 5");
  all_say(errors(ring, 3, 2, 2, 5, 5), "q must have shape (1, 2, 6, 3), got (1, 2, 5, 3)");
  all_say(errors(ring, 2, 2, 2, 6, 6), "the communicator has 2 ranks");
  all_say(errors(ring, 3, 3, 2, 6, 6), "must be a multiple");
  const ContextParallelAttention ulysses{{.strategy = ContextStrategy::kUlysses, .ulysses_size = 2}};
  all_say(errors(ulysses, 2, 4, 1, 8, 8), "ulysses_size 2 must divide");
  CHECK_THROWS_AS(ContextParallelAttention{{.ring_size = 0}}.slots(4), heed::Error);
  CHECK_THROWS_AS((ContextParallelAttention{{.ring_size = 4, .inner_ring_size = 2}}.slots(4)), heed::Error);
  CHECK_THROWS_AS((ContextParallelAttention{{.strategy = ContextStrategy::kUlysses, .ring_size = 2}}.slots(4)),
                  heed::Error);
  CHECK_THROWS_AS((ContextParallelAttention{{.window_left = -1}}.schedule()), heed::Error);
  CHECK_THROWS_AS(ContextParallelAttention{}.slots(-1), heed::Error);
}
