// SPDX-License-Identifier: Apache-2.0
// memory_as_context, memory_as_gate and memory_as_layer: what they share.
#include "catch.hpp"
#include "heed/self/memory_as_context.hpp"
#include "heed/self/memory_as_gate.hpp"
#include "heed/self/memory_as_layer.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class Op>
Op make(Index persistent) {
  Op op{{.num_heads = 2, .num_memory_heads = 2, .minibatch_size = 2, .max_step = 0.3}};
  op.mem.memory.resize(2);
  unsigned seed = 1;
  heed::for_each_parameter(op, [&](std::string_view name, auto& p) {
    if constexpr (heed::kRankOf<decltype(p)> == 3) {
      const bool first = name.ends_with("0");
      p = random_tensor<double, 3>({2, first ? 4 : 6, first ? 6 : 4}, ++seed, 0.4);
    } else if constexpr (heed::kRankOf<decltype(p)> == 2) {
      const bool gate = name.starts_with("mem.theta") || name.starts_with("mem.eta") || name.starts_with("mem.alpha");
      p = random_tensor<double, 2>({name == "persistent" ? persistent : gate ? 2 : 8, 8}, ++seed, 0.3);
    } else if (name.ends_with("theta.bias") || name.ends_with("eta.bias") || name.ends_with("alpha.bias")) {
      p = random_tensor<double, 1>({2}, ++seed);
    } else if (name.starts_with("gate.")) {
      p = random_tensor<double, 1>({8}, ++seed);
    }
  });
  return op;
}

}  // namespace

TEMPLATE_TEST_CASE("Titans: later tokens or segments are not seen, batches do not meet, no persistent tokens", "",
                   heed::MemoryAsContext<double>, heed::MemoryAsGate<double>, heed::MemoryAsLayer<double>) {
  for (const Index persistent : {0, 3}) {
    auto op = make<TestType>(persistent);
    if constexpr (requires { op.options.window_size; }) op.options.window_size = 4;
    if constexpr (requires { op.options.segment_len; }) op.options.segment_len = 5;
    auto x = random_tensor<double, 3>({2, 11, 8}, 50);
    const auto want = op(x);
    for (Index c = 0; c < 8; ++c) x(0, 7, c) = 5;
    const auto got = op(x);
    const auto rows = [](const auto& y, Index b, Index first, Index count) {
      return heed::view(y).slice(0, b, 1).slice(1, first, count);
    };
    // What the memory holds on a segment stands before it: its tokens see of each other what that depends on.
    const Index unseen = std::same_as<TestType, heed::MemoryAsContext<double>> ? 5 : 7;
    CHECK(error_of(rows(got, 0, 0, unseen), rows(want, 0, 0, unseen)) == 0);
    CHECK(error_of(rows(got, 1, 0, 11), rows(want, 1, 0, 11)) == 0);
    CHECK(error_of(rows(got, 0, 7, 4), rows(want, 0, 7, 4)) > 1e-6);
    CHECK(op(Tensor<double, 3>(2, 0, 8)).size() == 0);
    op.options.num_memory_heads = 3;
    CHECK_THROWS_AS(op(x), heed::Error);
  }
}

TEST_CASE("memory_as_context: a segment read at its end sees later tokens of the segment alone") {
  auto op = make<heed::MemoryAsContext<double>>(2);
  op.options.segment_len = 5;
  op.options.segment_read = heed::MemoryRead::kSegment;
  auto x = random_tensor<double, 3>({1, 10, 8}, 50);
  const auto want = op(x);
  x(0, 8, 1) = 5;
  const auto got = op(x);
  for (Index i = 0; i < 5; ++i) CHECK(got(0, i, 0) == want(0, i, 0));
  CHECK(got(0, 6, 0) != want(0, 6, 0));
}
