// SPDX-License-Identifier: Apache-2.0
// A whole sequence on ranks in this process, and what comes together again.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/in_process.hpp"
#include "support/reference.hpp"

namespace heed::test {

using Tensor4 = Tensor<double, 4>;
using Tensor3 = Tensor<double, 3>;
inline constexpr double kNone = -std::numeric_limits<double>::infinity();

struct Whole {
  Tensor4 q, k, v, d_out;
  Tensor3 d_lse;

  Whole(Index heads, Index kv_heads, Index length)
      : q(random_tensor<double, 4>({2, heads, length, 3}, 1)),
        k(random_tensor<double, 4>({2, kv_heads, length, 3}, 2)),
        v(random_tensor<double, 4>({2, kv_heads, length, 5}, 3)),
        d_out(random_tensor<double, 4>({2, heads, length, 5}, 4)),
        d_lse(random_tensor<double, 3>({2, heads, length}, 5)) {}
};
struct Results {
  Tensor4 out, d_q, d_k, d_v;
  Tensor3 lse;
  std::vector<std::uint64_t> sent_forward, sent_backward;

  explicit Results(const Whole& w) : out(w.d_out), d_q(w.q), d_k(w.k), d_v(w.v), lse(w.d_lse) {
    for (Tensor4* x : {&out, &d_q, &d_k, &d_v}) x->setZero();
    lse.setConstant(kNone);
  }
};

// A rank's tokens, NaN in the slots of padding; back, and what stands in the padding of a result.
template <int Rank>
Tensor<double, Rank> deal(const Tensor<double, Rank>& whole, const Tensor<std::int32_t, 2>& tokens, Index rank) {
  auto sizes = whole.dimensions();
  sizes[2] = tokens.dimension(1);
  Tensor<double, Rank> part(sizes);
  part.setConstant(kNaN);
  for (Index slot = 0; slot < tokens.dimension(1); ++slot)
    if (tokens(rank, slot) >= 0) part.chip(slot, 2) = whole.chip(tokens(rank, slot), 2);
  return part;
}
template <int Rank>
bool collect(const Tensor<double, Rank>& part, const Tensor<std::int32_t, 2>& tokens, Index rank, double padding,
             Tensor<double, Rank>& whole) {
  bool good = true;
  for (Index slot = 0; slot < tokens.dimension(1); ++slot) {
    const Tensor<double, Rank - 1> row = part.chip(slot, 2);
    if (tokens(rank, slot) >= 0) {
      whole.chip(tokens(rank, slot), 2) = row;
    } else {
      for (Index i = 0; i < row.size(); ++i) good &= row.data()[i] == padding;
    }
  }
  return good;
}

// The ranks' results put together; rule(rank) is the rank's.
template <class RuleOf>
Results parallel(const ContextParallelAttention& attend, const Whole& w, const RuleOf& rule_of) {
  Results r(w);
  const Index length = w.q.dimension(2);
  const auto tokens = attend.tokens(length);
  std::vector<char> good(std::size_t(attend.ranks()), 0);
  r.sent_forward.resize(good.size());
  r.sent_backward.resize(good.size());
  run_in_process(int(attend.ranks()), [&](Communicator& comm) {
    const int rank = comm.rank();
    const auto at = std::size_t(rank);
    const auto rule = rule_of(rank);
    const auto q = deal(w.q, tokens, rank), k = deal(w.k, tokens, rank), v = deal(w.v, tokens, rank);
    const auto [out, lse] = attend(comm, length, q, k, v, rule);
    r.sent_forward[at] = comm.bytes_sent();
    const auto [d_q, d_k, d_v] = attend.backward(comm, length, q, k, v, out, lse, deal(w.d_out, tokens, rank),
                                                 deal(w.d_lse, tokens, rank), rule);
    r.sent_backward[at] = comm.bytes_sent() - r.sent_forward[at];
    good[at] = collect(out, tokens, rank, 0, r.out) && collect(lse, tokens, rank, kNone, r.lse) &&
               collect(d_q, tokens, rank, 0, r.d_q) && collect(d_k, tokens, rank, 0, r.d_k) &&
               collect(d_v, tokens, rank, 0, r.d_v);
  });
  for (const char rank_is_good : good) CHECK(rank_is_good);
  return r;
}

inline Results parallel(const ContextParallelAttention& attend, const Whole& w) {
  return parallel(attend, w, [](int) { return everything(); });
}

template <int Rank>
double difference(const Tensor<double, Rank>& a, const Tensor<double, Rank>& b) {
  double most = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double d = std::abs(a.data()[i] - b.data()[i]);
    if (!(d <= most)) most = d;
  }
  return most;
}
inline double difference(const Results& a, const Results& b) {
  return std::max({difference(a.out, b.out), difference(a.lse, b.lse), difference(a.d_q, b.d_q),
                   difference(a.d_k, b.d_k), difference(a.d_v, b.d_v)});
}

inline constexpr SequenceLayout kLayouts[] = {SequenceLayout::kZigzag, SequenceLayout::kContiguous,
                                              SequenceLayout::kStriped};

struct World {
  ContextStrategy strategy;
  Index ulysses, ring, inner;
};
inline constexpr World kWorlds[] = {{ContextStrategy::kRing, 1, 1, 1},       {ContextStrategy::kRing, 1, 2, 1},
                                    {ContextStrategy::kRing, 1, 3, 1},       {ContextStrategy::kRing, 1, 4, 1},
                                    {ContextStrategy::kAllGather, 1, 3, 1},  {ContextStrategy::kUlysses, 2, 1, 1},
                                    {ContextStrategy::kUsp, 2, 2, 1},        {ContextStrategy::kUsp, 2, 3, 1},
                                    {ContextStrategy::kDoubleRing, 1, 4, 2}, {ContextStrategy::kDoubleRing, 1, 6, 3},
                                    {ContextStrategy::kDoubleRing, 1, 6, 2}, {ContextStrategy::kDoubleRing, 1, 3, 3}};

}  // namespace heed::test
