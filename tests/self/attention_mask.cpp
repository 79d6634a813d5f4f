// SPDX-License-Identifier: Apache-2.0
#include "heed/self/attention_mask.hpp"

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

namespace {

// The table of the contract, read pair by pair.
bool by_definition(const AttentionMask::Options& o, Index n, Index m, Index i, Index j) {
  const auto doc = [&](Index x) {
    Index d = 0;
    for (Index end = o.doc_lengths[0]; end <= x; end += o.doc_lengths[std::size_t(d)]) ++d;
    return d;
  };
  const auto start = [&](Index d) {
    Index begin = 0;
    for (Index x = 0; x < d; ++x) begin += o.doc_lengths[std::size_t(x)];
    return begin;
  };
  const auto inside = [&](Index t) {
    return (o.window[0] < 0 || t - o.window[0] <= j) && (o.window[1] < 0 || j <= t + o.window[1]);
  };
  const Index last = Index(o.doc_lengths.size()) - 1;
  switch (o.pattern) {
    case MaskPattern::kFull:
      return true;
    case MaskPattern::kCausal:
      return j <= i + m - n;
    case MaskPattern::kSlidingWindow:
      return inside(i + m - n);
    case MaskPattern::kDocument:
      return doc(i) == doc(j);
    case MaskPattern::kCausalDocument:
      return doc(i) == doc(j) && j <= i;
    case MaskPattern::kShareQuestion:
      return j <= i && (doc(j) == 0 || doc(i) == doc(j));
    case MaskPattern::kCausalBlockwise:
      return j <= i && (doc(i) == doc(j) || doc(i) == last);
    case MaskPattern::kPrefixLm:
      return j < o.prefix || j <= i;
    case MaskPattern::kPrefixLmDocument:
      return doc(i) == doc(j) && (j - start(doc(j)) < o.prefix || j <= i);
    case MaskPattern::kGlobalSlidingWindow:
      return i < o.global_tokens || j < o.global_tokens || inside(i);
    case MaskPattern::kBlockCausalDocument:
      return doc(i) == doc(j) && j < (i / o.block_size + 1) * o.block_size;
  }
  return false;
}

}  // namespace

TEST_CASE("attention_mask: every pattern is the table's") {
  const std::vector<std::vector<Index>> documents{{1}, {3}, {10, 7}, {1, 2, 60}, {20, 100, 10}};
  for (const std::string_view name : kMaskPatternNames)
    for (const auto& lengths : documents)
      for (const std::array<Index, 2> window : {std::array<Index, 2>{-1, -1}, {5, 0}, {0, 20}, {-1, 3}})
        for (const Index number : {0, 1, 12}) {
          AttentionMask mask;
          mask.options = {mask_pattern(name), window, lengths, number, number, number + 1};
          Index n = 0;
          for (const Index length : lengths) n += length;
          for (const Index extra : {Index(0), Index(30), -n / 2}) {
            if (extra != 0 && mask.options.pattern > MaskPattern::kSlidingWindow) continue;
            const auto dense = extra == 0 ? mask(n) : mask(n, n + extra);
            REQUIRE((dense.dimension(0) == n && dense.dimension(1) == n + extra));
            Index wrong = 0;
            for (Index i = 0; i < n; ++i)
              for (Index j = 0; j < n + extra; ++j)
                wrong += dense(i, j) != std::uint8_t(by_definition(mask.options, n, n + extra, i, j));
            INFO(name << ", n = " << n << ", m = " << n + extra);
            REQUIRE(wrong == 0);
          }
        }
}

TEST_CASE("attention_mask: the rule of a pattern, and empty sizes") {
  const AttentionMask mask{{.pattern = MaskPattern::kCausalDocument, .doc_lengths = {100, 28}}};
  const Index seen = mask.with_rule([](const auto& rule) {
    const auto dense = dense_mask(rule, {.batch = 1, .heads = 1, .kv_heads = 1, .queries = 128, .keys = 128});
    Index count = 0;
    for (Index x = 0; x < dense.size(); ++x) count += dense.data()[x];
    return count;
  });
  CHECK(seen == 100 * 101 / 2 + 28 * 29 / 2);
  CHECK(AttentionMask{}(0, 0).size() == 0);
  CHECK(AttentionMask{{.pattern = MaskPattern::kCausal}}(0, 5).size() == 0);
  CHECK(AttentionMask{{.pattern = MaskPattern::kShareQuestion}}(0).size() == 0);
}

TEST_CASE("attention_mask names what does not fit") {
  const auto mask = [](MaskPattern pattern) {
    return AttentionMask{{.pattern = pattern,
                          .window = {-2, 0},
                          .doc_lengths = {3, 4},
                          .prefix = -1,
                          .global_tokens = -1,
                          .block_size = 0}};
  };
  CHECK_THROWS_WITH(mask_pattern("diagonal"), contains("mask_pattern: there is no pattern named diagonal"));
  const Index negative = GENERATE(-1);  // unknown to g++, which warns of the allocation that is never reached
  CHECK_THROWS_WITH(mask(MaskPattern::kFull)(negative, 2),
                    "attention_mask: sizes must be 0 or more, got n = -1 and m = 2");
  CHECK_THROWS_WITH(mask(MaskPattern::kDocument)(7, 8),
                    "attention_mask: the pattern document needs m = n, got n = 7 and m = 8");
  CHECK_THROWS_WITH(mask(MaskPattern::kDocument)(8),
                    "documents: the lengths sum to 7, which must be N and M, got N = 8 and M = 8");
  CHECK_THROWS_WITH(mask(MaskPattern::kSlidingWindow)(7), contains("the window must be -1 or more"));
  CHECK_THROWS_WITH(mask(MaskPattern::kPrefixLm)(7), "prefix_lm: the prefix must be 0 or more, got -1");
  CHECK_THROWS_WITH(mask(MaskPattern::kPrefixLmDocument)(7), contains("the count must be 0 or more, got -1"));
  CHECK_THROWS_WITH(mask(MaskPattern::kGlobalSlidingWindow)(7),
                    "global_sliding_window: global_tokens must be 0 or more, got -1");
  CHECK_THROWS_WITH(mask(MaskPattern::kBlockCausalDocument)(7), contains("block size must be 1 or more"));
}
