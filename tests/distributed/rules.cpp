// SPDX-License-Identifier: Apache-2.0
// Visibility rules of a whole sequence that lies on several ranks, against the engine on one.
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "heed/attention.hpp"
#include "heed/distributed/context_parallel_in_process.hpp"
#include "support/any_rule.hpp"
#include "support/rules.hpp"
#include "support/whole_sequence.hpp"

using heed::Communicator;
using heed::ContextParallelAttention;
using heed::ContextStrategy;
using heed::Index;
using heed::SequenceLayout;
using heed::Tensor;
using heed::test::AnyRule;
using heed::test::difference;
using heed::test::kLayouts;
using heed::test::kWorlds;
using heed::test::parallel;
using heed::test::Results;
using heed::test::Whole;
using heed::test::World;

namespace {

Results in_one(const AnyRule& rule, const Whole& w) {
  Results r(w);
  const auto attend = heed::softmax_attention(rule);
  attend(w.q, w.k, w.v, heed::into(r.out, r.lse));
  heed::softmax_attention_backward(
      heed::DeviceRef(), attend, w.q, w.k, w.v, r.out, r.lse, w.d_out, heed::const_view(w.d_lse),
      heed::AttentionGradients<double>{heed::view(r.d_q), heed::view(r.d_k), heed::view(r.d_v)});
  return r;
}

ContextParallelAttention::Options options_of(const World& world, SequenceLayout layout) {
  return {.strategy = world.strategy,
          .ulysses_size = world.ulysses,
          .ring_size = world.ring,
          .inner_ring_size = world.inner,
          .layout = layout};
}

struct Named {
  std::string name;
  AnyRule rule;
};

// What the rules read, of a sequence of `length` tokens in 2 batches and 4 heads.
struct Sources {
  Index length;
  Tensor<std::int32_t, 2> segments;
  Tensor<std::int32_t, 1> lengths, prefixes;
  Tensor<std::uint8_t, 2> keys;
  Tensor<std::uint8_t, 4> pairs, blocks;
  Tensor<std::int32_t, 3> begins, ends;
  std::vector<Index> documents;

  explicit Sources(Index n)
      : length(n),
        segments(2, n),
        lengths(2),
        prefixes(2),
        keys(heed::test::random_mask<2>({2, n}, 1, 0.6)),
        pairs(heed::test::random_mask<4>({2, 4, n, n}, 2, 0.3)),
        blocks(heed::test::random_mask<4>({1, 4, (n + 3) / 4, (n + 4) / 5}, 3, 0.4)),
        begins(2, 1, n),
        ends(1, 4, n) {
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < n; ++i) {
        segments(b, i) = std::int32_t((i * (b + 3) / 7) % 4);
        begins(b, 0, i) = std::int32_t(i / 2 + b);
      }
    for (Index h = 0; h < 4; ++h)
      for (Index i = 0; i < n; ++i) ends(0, h, i) = std::int32_t(std::min<Index>(n, i + 2 * h));
    lengths.setValues({std::int32_t(n / 2), std::int32_t(n)});
    prefixes.setValues({std::int32_t(n / 3), 1});
    documents = n > 12 ? std::vector<Index>{3, 1, 6, n - 10} : std::vector<Index>{n};
  }

  std::vector<Named> rules() const {
    const auto late = heed::visible([](const auto& at) { return at.key() > at.position(); });
    const auto far = heed::visible([](const auto& at) {
      using Batch = typename std::remove_cvref_t<decltype(at)>::Batch;
      return at.distance() * Batch(at.head % 2 == 0 ? 1 : -1) >= Batch(3);
    });
    return {{"documents", heed::documents(documents)},
            {"causal documents", heed::causal_documents(documents)},
            {"share question", heed::share_question(documents)},
            {"causal blockwise", heed::causal_blockwise(documents)},
            {"prefix of documents", heed::prefix_lm_documents(documents, 2)},
            {"blocks of documents", heed::block_causal_documents(documents, 3)},
            {"segments", heed::segments(segments, segments)},
            {"not segments", heed::causal() && !heed::segments(segments, segments)},
            {"prefix", heed::causal() || heed::prefix(prefixes)},
            {"key lengths", heed::causal() && heed::key_lengths(lengths)},
            {"window of key lengths", heed::window(3, 1) && heed::key_lengths(lengths)},
            {"key mask", heed::window(6, 2) && heed::key_mask(keys)},
            {"boolean mask", heed::boolean_mask(pairs)},
            {"boolean mask and more", (heed::boolean_mask(pairs) && heed::causal()) || heed::key_mask(keys)},
            {"boolean mask or not", !heed::boolean_mask(pairs) && heed::window_left(9)},
            {"key ranges", heed::key_ranges(begins, ends)},
            {"block mask", heed::block_mask(blocks, 4, 5)},
            {"block window", heed::block_window(3, 1, 1)},
            {"global tokens", heed::global_sliding_window(2, 3, 3)},
            {"a user's own", late},
            {"a user's own by head", far || heed::window(1, 1)},
            {"none", !heed::everything()}};
  }
};

std::string describe(const World& world, SequenceLayout layout, Index length, const std::string& name) {
  return name + ", strategy " + std::to_string(int(world.strategy)) + " of " + std::to_string(world.ulysses) + " x " +
         std::to_string(world.ring) + " / " + std::to_string(world.inner) + ", layout " + std::to_string(int(layout)) +
         ", length " + std::to_string(length);
}

}  // namespace

TEST_CASE("Rules of the whole sequence", "[threads]") {
  for (const Index length : {1, 29}) {
    const Whole whole(4, 2, length);
    const Sources sources(length);
    for (const Named& named : sources.rules()) {
      const Results want = in_one(named.rule, whole);
      for (const World& world : kWorlds)
        for (const SequenceLayout layout : kLayouts) {
          INFO(describe(world, layout, length, named.name));
          const ContextParallelAttention attend{options_of(world, layout)};
          CHECK(difference(parallel(attend, whole, [&](int) { return named.rule; }), want) < 1e-13);
        }
    }
  }
}

TEST_CASE("Rules that say nothing about runs", "[threads]") {
  const Whole whole(4, 2, 18);
  const Sources sources(18);
  for (const Named& named : sources.rules()) {
    const Results want = in_one(named.rule, whole);
    for (const SequenceLayout layout : kLayouts) {
      INFO(describe(kWorlds[2], layout, 18, named.name));
      const ContextParallelAttention attend{options_of(kWorlds[2], layout)};
      CHECK(difference(parallel(attend, whole, [&](int) { return named.rule.without_runs(); }), want) < 1e-13);
    }
  }
}

TEST_CASE("Compositions of rules by position", "[threads]") {
  const Whole whole(4, 2, 21);
  for (const auto& c : heed::test::rule_cases(2, 21)) {
    const Results want = in_one(c.rule, whole);
    for (const World& world : {World{ContextStrategy::kRing, 1, 3, 1}, World{ContextStrategy::kUsp, 2, 2, 1}})
      for (const SequenceLayout layout : kLayouts) {
        INFO(describe(world, layout, 21, c.name));
        const ContextParallelAttention attend{options_of(world, layout)};
        CHECK(difference(parallel(attend, whole, [&](int) { return AnyRule(c.rule); }), want) < 1e-13);
      }
  }
}

TEST_CASE("A rule beside the options", "[threads]") {
  const Whole whole(4, 2, 23);
  const Sources sources(23);
  const Results want = in_one(heed::causal() && heed::window_left(8) && heed::key_mask(sources.keys), whole);
  for (const SequenceLayout layout : kLayouts) {
    const ContextParallelAttention attend{
        {.ring_size = 4, .layout = layout, .causal = true, .window_left = 8, .bfloat16_wire = true}};
    CHECK(difference(parallel(attend, whole, [&](int) { return AnyRule(heed::key_mask(sources.keys)); }), want) <
          1e-13);
  }
}

TEST_CASE("A mask of which each rank holds its rows", "[threads]") {
  const Index length = 27;
  const Whole whole(4, 2, length);
  const auto pairs = heed::test::random_mask<4>({2, 4, length, length}, 9, 0.4);
  const Results want = in_one(heed::boolean_mask(pairs) && heed::window_left(20), whole);
  for (const World& world : kWorlds)
    for (const SequenceLayout layout : kLayouts) {
      INFO(describe(world, layout, length, "rows"));
      const ContextParallelAttention attend{options_of(world, layout)};
      const auto tokens = attend.tokens(length);
      const Index n = attend.slots(length), u = world.ulysses;
      std::vector<Tensor<std::uint8_t, 4>> rows(std::size_t(attend.ranks()),
                                                Tensor<std::uint8_t, 4>(2, 4, u * n, length));
      for (Index rank = 0; rank < attend.ranks(); ++rank) {
        Tensor<std::uint8_t, 4>& own = rows[std::size_t(rank)];
        own.setConstant(1);
        for (Index slot = 0; slot < u * n; ++slot)
          if (const Index token = tokens(rank / u * u + slot / n, slot % n); token >= 0)
            own.chip(slot, 2) = pairs.chip(token, 2);
      }
      const auto rule_of = [&](int rank) {
        return AnyRule(attend.own_rows(length, rank, heed::boolean_mask(rows[std::size_t(rank)])) &&
                       heed::window_left(20));
      };
      CHECK(difference(parallel(attend, whole, rule_of), want) < 1e-13);
    }
}

TEST_CASE("Sequences of several pieces", "[threads]") {
  const Index length = 9001;
  Whole whole(1, 1, length);
  const AnyRule rule = heed::sink_tokens(3) || heed::window(70, 5);
  const Results want = in_one(rule, whole);
  for (const SequenceLayout layout : {SequenceLayout::kContiguous, SequenceLayout::kZigzag}) {
    const ContextParallelAttention attend{{.ring_size = 2, .layout = layout}};
    CHECK(difference(parallel(attend, whole, [&](int) { return rule; }), want) < 1e-11);
  }
}

TEST_CASE("Keys that nobody sees are not sent", "[threads]") {
  constexpr Index kLength = 64, kRing = 4, kNumbers = 2 * 16 * 2 * (3 + 5);  // of the keys and values of a part
  const Whole whole(4, 2, kLength);
  const Index facts = 8 * (12 + 12) * 3, faults = 8 * 3, uses = kRing * 3;
  const auto parts = [&](ContextParallelAttention::Options options, const AnyRule& rule) {
    options.ring_size = kRing;
    options.layout = SequenceLayout::kContiguous;
    const Results r = parallel(ContextParallelAttention{options}, whole, [&](int) { return rule; });
    std::array<double, kRing> sent{};
    for (std::size_t rank = 0; rank < kRing; ++rank)
      sent[rank] = double(Index(r.sent_forward[rank]) - facts - faults - uses) / (8.0 * kNumbers);
    return sent;
  };
  using Sent = std::array<double, kRing>;
  // The part of the rank before goes one hop; from the last rank nothing does.
  CHECK(parts({}, heed::causal() && heed::window_left(16)) == Sent{1, 1, 1, 0});
  CHECK(parts({.strategy = ContextStrategy::kAllGather}, heed::causal() && heed::window_left(16)) == Sent{1, 1, 1, 0});
  // The first part goes to all, by the ranks between.
  CHECK(parts({}, (heed::window_left(3) && heed::causal()) || heed::sink_tokens(2)) == Sent{1, 2, 2, 0});
  CHECK(parts({.strategy = ContextStrategy::kAllGather}, heed::sink_tokens(2)) == Sent{3, 0, 0, 0});
  CHECK(parts({.strategy = ContextStrategy::kDoubleRing, .inner_ring_size = 2}, heed::sink_tokens(2)) ==
        Sent{2, 0, 1, 0});
  CHECK(parts({}, heed::documents({16, 16, 16, 16})) == Sent{0, 0, 0, 0});
  CHECK(parts({}, !heed::everything()) == Sent{0, 0, 0, 0});
  // A rule that says nothing about its runs is found out by the attention.
  CHECK(parts({}, AnyRule(heed::causal()).without_runs()) == Sent{3, 3, 3, 3});

  // By the options each rank knows it of all.
  const ContextParallelAttention attend{
      {.ring_size = kRing, .layout = SequenceLayout::kContiguous, .causal = true, .window_left = 16}};
  const auto tokens = attend.tokens(kLength);
  std::array<Index, kRing> sent{};
  heed::run_in_process(kRing, [&](Communicator& comm) {
    const auto own = [&](const auto& x) { return heed::test::deal(x, tokens, comm.rank()); };
    attend(comm, kLength, own(whole.q), own(whole.k), own(whole.v));
    sent[std::size_t(comm.rank())] = Index(comm.bytes_sent()) - facts;
  });
  CHECK(sent == std::array<Index, kRing>{8 * kNumbers, 8 * kNumbers, 8 * kNumbers, 0});
}

TEST_CASE("A rule that does not fit is the same error on every rank", "[threads]") {
  const Whole whole(4, 2, 16);
  const ContextParallelAttention attend{{.ring_size = 3}};
  const auto tokens = attend.tokens(16);
  const Tensor<std::uint8_t, 2> good(2, 16), bad(2, 6);
  const auto texts = [&](int odd) {
    std::array<std::string, 3> result;
    heed::run_in_process(3, [&](Communicator& comm) {
      const auto own = [&](const auto& x) { return heed::test::deal(x, tokens, comm.rank()); };
      const AnyRule rule = heed::key_mask(odd < 0 || comm.rank() == odd ? bad : good);
      try {
        attend(comm, 16, own(whole.q), own(whole.k), own(whole.v), rule);
      } catch (const heed::Error& error) {
        result[std::size_t(comm.rank())] = error.what();
      }
    });
    return result;
  };
  for (const int odd : {-1, 0, 1, 2})
    for (const std::string& text : texts(odd)) {
      CHECK(text.find("the mask") != std::string::npos);
      CHECK(text == texts(odd)[0]);
    }
  CHECK_THROWS_AS(attend.own_rows(16, 3, heed::everything()), heed::Error);
}
