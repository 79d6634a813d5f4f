// SPDX-License-Identifier: Apache-2.0
// Keys and values that travel as bfloat16.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "heed/distributed/context_parallel_attention.hpp"
#include "heed/distributed/in_process.hpp"
#include "support/reference.hpp"

using heed::Communicator;
using heed::ContextParallelAttention;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

using Narrow = Tensor<Eigen::bfloat16, 4>;
using Wide = Tensor<float, 4>;

// Contiguous tokens of a rank.
template <class T, int Rank>
Tensor<T, Rank> own(const Tensor<T, Rank>& whole, int rank, int ranks) {
  auto sizes = whole.dimensions(), start = sizes;
  sizes[2] /= ranks;
  start.fill(0);
  start[2] = rank * sizes[2];
  return whole.slice(start, sizes);
}

}  // namespace

TEST_CASE("Keys of bfloat16 are the same attention over fewer bytes", "[threads]") {
  constexpr int kRanks = 3;
  constexpr Index kTokens = 18;
  const auto q = random_tensor<float, 4>({1, 2, kTokens, 4}, 1), d_out = random_tensor<float, 4>({1, 2, kTokens, 6}, 4);
  const auto d_lse = random_tensor<float, 3>({1, 2, kTokens}, 5);
  const Narrow k = random_tensor<float, 4>({1, 1, kTokens, 4}, 2).cast<Eigen::bfloat16>(),
               v = random_tensor<float, 4>({1, 1, kTokens, 6}, 3).cast<Eigen::bfloat16>();
  // Forward and backward of a rank, {out, lse, dq, dk, dv}.
  const auto run = [&](Communicator& comm) {
    const int r = comm.rank(), n = comm.size();
    const ContextParallelAttention attend{
        {.ring_size = n, .layout = heed::SequenceLayout::kContiguous, .causal = true}};
    auto forward = attend(comm, kTokens, own(q, r, n), own(k, r, n), own(v, r, n));
    // Under a causal rule the keys go to the ranks behind, as far as to the last.
    const std::uint64_t sent = comm.bytes_sent(), facts = 8 * (12 + 12);
    const int parts = r + 1 < n ? r + 1 : 0;
    if (n == kRanks && sent != (kRanks - 1) * facts + std::uint64_t(parts * 2 * (4 + 6) * kTokens / kRanks))
      throw heed::Error("bytes sent");
    auto gradients = attend.backward(comm, kTokens, own(q, r, n), own(k, r, n), own(v, r, n), std::get<0>(forward),
                                     std::get<1>(forward), own(d_out, r, n), own(d_lse, r, n));
    return std::tuple_cat(std::move(forward), std::move(gradients));
  };
  using Result = decltype(run(std::declval<Communicator&>()));
  Result whole;
  heed::run_in_process(1, [&](Communicator& comm) { whole = run(comm); });
  std::array<Result, kRanks> parts;
  heed::run_in_process(kRanks, [&](Communicator& comm) { parts[std::size_t(comm.rank())] = run(comm); });
  static_assert(std::is_same_v<std::tuple_element_t<3, Result>, Wide>);
  for (int r = 0; r < kRanks; ++r) {
    const Result& part = parts[std::size_t(r)];
    CHECK(error_of(std::get<0>(part), own(std::get<0>(whole), r, kRanks)) < 1e-6);
    CHECK(error_of(std::get<1>(part), own(std::get<1>(whole), r, kRanks)) < 1e-6);
    CHECK(error_of(std::get<2>(part), own(std::get<2>(whole), r, kRanks)) < 2e-6);
    CHECK(error_of(std::get<3>(part), own(std::get<3>(whole), r, kRanks)) < 2e-6);
    CHECK(error_of(std::get<4>(part), own(std::get<4>(whole), r, kRanks)) < 2e-6);
  }
  // A row by its definition.
  double sum = 0, value = 0;
  for (Index j = 0; j <= 7; ++j) {
    double s = 0;
    for (Index d = 0; d < 4; ++d) s += double(q(0, 1, 7, d)) * double(float(k(0, 0, j, d))) / 2;
    sum += std::exp(s);
    value += std::exp(s) * double(float(v(0, 0, j, 5)));
  }
  CHECK(std::abs(double(std::get<0>(whole)(0, 1, 7, 5)) - value / sum) < 1e-5);
  CHECK(std::abs(double(std::get<1>(whole)(0, 1, 7)) - std::log(sum)) < 1e-5);
}

namespace {

struct Row {
  double lse = 0;
  std::array<double, 6> out{};
};

// Row (head 1, query i) by its definition, over the first keys of k and v.
Row row_of(const Wide& q, const Wide& k, const Wide& v, Index i, Index keys) {
  Row row;
  double sum = 0;
  for (Index j = 0; j < keys; ++j) {
    double s = 0;
    for (Index d = 0; d < 4; ++d) s += double(q(0, 1, i, d)) * double(k(0, 0, j, d)) / 2;
    sum += std::exp(s);
    for (Index d = 0; d < 6; ++d) row.out[std::size_t(d)] += std::exp(s) * double(v(0, 0, j, d));
  }
  for (double& x : row.out) x /= sum;
  row.lse = std::log(sum);
  return row;
}

}  // namespace

TEST_CASE("Keys of float are rounded to bfloat16 for the wire alone", "[threads]") {
  constexpr int kRanks = 3;
  constexpr Index kTokens = 18, kOwn = kTokens / kRanks;
  const auto q = random_tensor<float, 4>({1, 2, kTokens, 4}, 1), k = random_tensor<float, 4>({1, 1, kTokens, 4}, 2),
             v = random_tensor<float, 4>({1, 1, kTokens, 6}, 3), d_out = random_tensor<float, 4>({1, 2, kTokens, 6}, 4);
  const auto d_lse = random_tensor<float, 3>({1, 2, kTokens}, 5);
  const auto run = [&](Communicator& comm, heed::ContextStrategy strategy, bool narrow) {
    const int r = comm.rank(), n = comm.size();
    const bool heads = strategy == heed::ContextStrategy::kUlysses;
    const ContextParallelAttention attend{{.strategy = strategy,
                                           .ulysses_size = heads ? n : 1,
                                           .ring_size = heads ? 1 : n,
                                           .layout = heed::SequenceLayout::kContiguous,
                                           .bfloat16_wire = narrow}};
    // Two heads of keys where the ranks take one each.
    const Index copies = heads ? 2 : 1;
    const Wide keys = own(k, r, n).broadcast(std::array<Index, 4>{1, copies, 1, 1}),
               values = own(v, r, n).broadcast(std::array<Index, 4>{1, copies, 1, 1});
    auto forward = attend(comm, kTokens, own(q, r, n), keys, values);
    const std::uint64_t sent = comm.bytes_sent();
    auto gradients = attend.backward(comm, kTokens, own(q, r, n), keys, values, std::get<0>(forward),
                                     std::get<1>(forward), own(d_out, r, n), own(d_lse, r, n));
    return std::tuple_cat(std::move(forward), std::move(gradients), std::make_tuple(sent));
  };
  using Result = decltype(run(std::declval<Communicator&>(), heed::ContextStrategy::kRing, true));
  const auto ranks = [&](int size, heed::ContextStrategy strategy, bool narrow) {
    std::vector<Result> results(static_cast<std::size_t>(size));
    heed::run_in_process(size,
                         [&](Communicator& comm) { results[std::size_t(comm.rank())] = run(comm, strategy, narrow); });
    return results;
  };
  constexpr std::uint64_t kFacts = 8 * (12 + 12), kPart = (4 + 6) * kOwn;
  for (const auto strategy : {heed::ContextStrategy::kRing, heed::ContextStrategy::kAllGather}) {
    const auto exact = ranks(kRanks, strategy, false), narrow = ranks(kRanks, strategy, true);
    for (int r = 0; r < kRanks; ++r) {
      const Result &got = narrow[std::size_t(r)], &want = exact[std::size_t(r)];
      CHECK(std::get<5>(want) == (kRanks - 1) * (kFacts + 4 * kPart));
      CHECK(std::get<5>(got) == (kRanks - 1) * (kFacts + 2 * kPart));
      // What the rank has of its own is not rounded.
      Wide k_seen = k.cast<Eigen::bfloat16>().cast<float>(), v_seen = v.cast<Eigen::bfloat16>().cast<float>();
      for (Index j = r * kOwn; j < (r + 1) * kOwn; ++j) {
        k_seen.chip(j, 2) = k.chip(j, 2);
        v_seen.chip(j, 2) = v.chip(j, 2);
      }
      for (Index i = 0; i < kOwn; ++i) {
        const Row row = row_of(q, k_seen, v_seen, r * kOwn + i, kTokens);
        CHECK(std::abs(double(std::get<1>(got)(0, 1, i)) - row.lse) < 1e-5);
        for (Index d = 0; d < 6; ++d)
          CHECK(std::abs(double(std::get<0>(got)(0, 1, i, d)) - row.out[std::size_t(d)]) < 1e-5);

        // Rounding moves a number by its 2^-9th or less: a score by e = 2^-9 sum |q k| / 2, the log-sum-exp by as much,
        // a weight by the factor exp(2 e), and the mean of values by that and by the rounding of the values.
        const double unit = std::ldexp(1.0, -9);
        double e = 0, largest = 0;
        for (Index j = 0; j < kTokens; ++j) {
          double s = 0;
          for (Index d = 0; d < 4; ++d) s += std::abs(double(q(0, 1, r * kOwn + i, d)) * double(k(0, 0, j, d))) / 2;
          e = std::max(e, unit * s);
          for (Index d = 0; d < 6; ++d) largest = std::max(largest, std::abs(double(v(0, 0, j, d))));
        }
        const double bound = (std::expm1(2 * e) + unit * std::exp(2 * e)) * largest;
        CHECK(std::abs(std::get<1>(got)(0, 1, i) - std::get<1>(want)(0, 1, i)) < e + 1e-6);
        for (Index d = 0; d < 6; ++d)
          CHECK(std::abs(std::get<0>(got)(0, 1, i, d) - std::get<0>(want)(0, 1, i, d)) < bound + 1e-6);
      }
      CHECK(error_of(std::get<2>(got), std::get<2>(want)) < 0.02);
      CHECK(error_of(std::get<3>(got), std::get<3>(want)) < 0.02);
      CHECK(error_of(std::get<4>(got), std::get<4>(want)) < 0.02);
    }
    const auto again = ranks(kRanks, strategy, true);
    for (std::size_t r = 0; r < kRanks; ++r) CHECK(error_of(std::get<0>(again[r]), std::get<0>(narrow[r])) == 0);
  }
  // In an all-to-all half of the keys and values leave each of two ranks, and of q, out and lse, which stay float.
  const auto exact = ranks(2, heed::ContextStrategy::kUlysses, false);
  const auto narrow = ranks(2, heed::ContextStrategy::kUlysses, true);
  CHECK(std::get<5>(exact[0]) - std::get<5>(narrow[0]) == 2 * (4 + 6) * (kTokens / 2));
  CHECK(error_of(std::get<0>(narrow[0]), std::get<0>(exact[0])) < 0.02);
  // One rank sends nothing.
  CHECK(error_of(std::get<0>(ranks(1, heed::ContextStrategy::kRing, true)[0]),
                 std::get<0>(ranks(1, heed::ContextStrategy::kRing, false)[0])) == 0);
}

TEST_CASE("Ranks that round for the wire and ranks that do not", "[threads]") {
  std::array<std::string, 2> texts;
  heed::run_in_process(2, [&](Communicator& comm) {
    const Wide x(1, 1, 2, 3);
    try {
      ContextParallelAttention{{.ring_size = 2, .bfloat16_wire = comm.rank() == 1}}(comm, 4, x, x, x);
    } catch (const heed::Error& error) {
      texts[std::size_t(comm.rank())] = error.what();
    }
  });
  CHECK(texts[0].find("the bits of precision of k and v on the wire: rank 0 has 24, rank 1 has 8") !=
        std::string::npos);
  CHECK(texts[1] == texts[0]);
}
