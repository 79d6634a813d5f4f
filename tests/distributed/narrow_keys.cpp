// SPDX-License-Identifier: Apache-2.0
// Keys and values that travel as bfloat16.
#include <array>
#include <cmath>
#include <tuple>
#include <type_traits>
#include <utility>

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
    const std::uint64_t sent = comm.bytes_sent(), facts = 8 * (12 + 12);
    if (n == kRanks && sent != (kRanks - 1) * (facts + 2 * (4 + 6) * kTokens / kRanks)) throw heed::Error("bytes sent");
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
