// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/mask/documents.hpp"

#include <numeric>

#include "catch.hpp"
#include "check_rule.hpp"

using namespace heed;
using namespace heed::test;

namespace {

using Lengths = std::vector<Index>;

const std::vector<Lengths> kDocuments{
    {1}, {3}, {17}, {1, 1, 1}, {63, 1}, {5, 12, 30, 2, 14}, {64, 64, 32}, {100, 20, 80}, {7, 150, 10, 1, 1, 90}};

struct Places {
  std::vector<Index> document, start;
  explicit Places(const Lengths& lengths) {
    for (std::size_t d = 0; d < lengths.size(); ++d) {
      const Index begin = Index(document.size());
      document.resize(document.size() + std::size_t(lengths[d]), Index(d));
      start.resize(document.size(), begin);
    }
  }
  Index doc(Index i) const { return document[std::size_t(i)]; }
  Index begin(Index i) const { return start[std::size_t(i)]; }
  Index size() const { return Index(document.size()); }
};

}  // namespace

TEST_CASE("documents and what is made of them") {
  for (const Lengths& lengths : kDocuments) {
    const Places at(lengths);
    const AttentionShape shape = rule_shape(at.size(), at.size());
    const Index last = Index(lengths.size()) - 1;
    Slack slack = check_rule(AnyRule(documents(lengths)), shape,
                             [&](Index, Index, Index i, Index j) { return at.doc(i) == at.doc(j); });
    CHECK(slack.some_but_none == 0);
    CHECK(slack.some_but_all == 0);
    slack = check_rule(AnyRule(causal_documents(lengths)), shape,
                       [&](Index, Index, Index i, Index j) { return at.doc(i) == at.doc(j) && j <= i; });
    CHECK(slack.some_but_none == 0);
    check_rule(AnyRule(share_question(lengths)), shape,
               [&](Index, Index, Index i, Index j) { return j <= i && (at.doc(j) == 0 || at.doc(i) == at.doc(j)); });
    check_rule(AnyRule(causal_blockwise(lengths)), shape,
               [&](Index, Index, Index i, Index j) { return j <= i && (at.doc(i) == at.doc(j) || at.doc(i) == last); });
    for (const Index prefix : {0, 5, 70}) {
      check_rule(AnyRule(prefix_lm(prefix)), shape,
                 [&](Index, Index, Index i, Index j) { return j < prefix || j <= i; });
      check_rule(AnyRule(prefix_lm_documents(lengths, prefix)), shape, [&](Index, Index, Index i, Index j) {
        return at.doc(i) == at.doc(j) && (j - at.begin(j) < prefix || j <= i);
      });
      check_rule(AnyRule(document_prefix(documents(lengths), prefix)), shape,
                 [&](Index, Index, Index, Index j) { return j - at.begin(j) < prefix; });
    }
    for (const Index block : {1, 3, 16, 1000}) {
      slack = check_rule(AnyRule(block_causal(block)), shape,
                         [&](Index, Index, Index i, Index j) { return j < (i / block + 1) * block; });
      CHECK(slack.some_but_none == 0);
      CHECK(slack.some_but_all == 0);
      check_rule(AnyRule(block_causal_documents(lengths, block)), shape,
                 [&](Index, Index, Index i, Index j) { return at.doc(i) == at.doc(j) && j < (i / block + 1) * block; });
    }
  }
}

TEST_CASE("windows without limits, with global tokens, and ranges of queries") {
  for (const Index n : {1, 3, 17, 63, 130}) {
    const AttentionShape shape = rule_shape(n, n);
    for (const Index left : {-1, 0, 10})
      for (const Index right : {-1, 0, 40}) {
        const auto inside = [=](Index i, Index j) {
          return (left < 0 || i - left <= j) && (right < 0 || j <= i + right);
        };
        check_rule(AnyRule(sliding_window(left, right)), shape,
                   [=](Index, Index, Index i, Index j) { return inside(i, j); });
        for (const Index global : {0, 1, 20})
          check_rule(AnyRule(global_sliding_window(global, left, right)), shape,
                     [=](Index, Index, Index i, Index j) { return i < global || j < global || inside(i, j); });
      }
    check_rule(AnyRule(query_range(3, 20)), shape, [](Index, Index, Index i, Index) { return i >= 3 && i < 20; });
    check_rule(AnyRule(!query_range(0, 2)), shape, [](Index, Index, Index i, Index) { return i >= 2; });
  }
}

TEST_CASE("document lengths of any kind") {
  Tensor<std::int32_t, 1> tensor(2);
  tensor.setValues({4, 3});
  const std::vector<std::uint16_t> small{4, 3};
  const AttentionShape shape = rule_shape(7, 7);
  const auto two = [](Index, Index, Index i, Index j) { return (i < 4) == (j < 4); };
  check_rule(AnyRule(documents(tensor)), shape, two);
  check_rule(AnyRule(documents(small)), shape, two);
  check_rule(AnyRule(documents({4, 3})), shape, two);
  const AttentionShape empty = rule_shape(0, 0);
  share_question(Lengths{}).check(empty);
  causal_blockwise(Lengths{}).check(empty);
}

TEST_CASE("documents that do not fit are named") {
  CHECK_THROWS_WITH(documents({3, 0}), "documents: lengths must be positive, got 0 for document 1");
  CHECK_THROWS_WITH(documents({3, -2}), "documents: lengths must be positive, got -2 for document 1");
  CHECK_THROWS_WITH(documents({3, Index(1) << 31}), "documents: the lengths must sum to less than 2^31");
  CHECK_THROWS_WITH(documents({3, 2}).check(rule_shape(6, 5)),
                    "documents: the lengths sum to 5, which must be N and M, got N = 6 and M = 5");
  CHECK_THROWS_WITH(document_prefix(documents({3, 2}), 1).check(rule_shape(5, 6)),
                    "document_prefix: the lengths sum to 5, which must be N and M, got N = 5 and M = 6");
  CHECK_THROWS_WITH(document_prefix(documents({3}), -1), "document_prefix: the count must be 0 or more, got -1");
  CHECK_THROWS_WITH(prefix_lm(-1), "prefix_lm: the prefix must be 0 or more, got -1");
  CHECK_THROWS_WITH(query_range(3, 2), "query_range: needs 0 <= begin <= end, got 3 and 2");
  CHECK_THROWS_WITH(block_causal(0), "block_causal: the block size must be 1 or more and below 2^31, got 0");
  CHECK_THROWS_WITH(sliding_window(-2, 0),
                    "sliding_window: the window must be -1 or more on either side, got -2 and 0");
  CHECK_THROWS_WITH(global_sliding_window(-1, 0, 0), "global_sliding_window: global_tokens must be 0 or more, got -1");
}
