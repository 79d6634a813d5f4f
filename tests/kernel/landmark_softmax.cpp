// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/landmark_softmax.hpp"

#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::test::random_mask;
using heed::test::random_tensor;
namespace kernel = heed::kernel;

namespace {

// The weights by the definition: a landmark's share of the upper softmax times the softmax of its block.
std::vector<double> naive(const std::vector<double>& s, const std::vector<std::uint8_t>& mark) {
  const std::size_t count = s.size();
  std::vector<double> weight(count, 0.0);
  std::size_t own = 0;
  for (std::size_t j = 0; j + 1 < count; ++j)
    if (mark[j]) own = j + 1;
  const std::size_t own_end = count - (mark[count - 1] ? 1 : 0);
  double top = 0;
  for (std::size_t j = own; j < own_end; ++j) top += std::exp(s[j]);
  for (std::size_t j = 0; j < own; ++j)
    if (mark[j]) top += std::exp(s[j]);
  for (std::size_t j = own; j < own_end; ++j) weight[j] = std::exp(s[j]) / top;
  std::size_t first = 0;
  for (std::size_t l = 0; l < own; ++l) {
    if (!mark[l]) continue;
    double block = 0;
    for (std::size_t j = first; j < l; ++j) block += std::exp(s[j]);
    for (std::size_t j = first; j < l; ++j) weight[j] = std::exp(s[l]) / top * std::exp(s[j]) / block;
    first = l + 1;
  }
  return weight;
}

std::vector<double> row(Index count, unsigned seed) {
  const auto x = random_tensor<double, 1>({count}, seed);
  return {x.data(), x.data() + count};
}

}  // namespace

TEST_CASE("landmark_softmax_row and its gradient") {
  for (const Index count : {1, 2, 3, 17, 63})
    for (const double density : {0.0, 0.2, 0.6, 1.0})
      for (const Index stride : {1, 3}) {
        const auto random = random_mask<1>({count}, 5, density);
        std::vector<std::uint8_t> mark(random.data(), random.data() + count), apart(std::size_t(count * stride), 9);
        for (std::size_t j = 0; j < std::size_t(count); ++j) apart[j * std::size_t(stride)] = mark[j];
        const auto s = row(count, 1), d = row(count, 2);
        auto got = s;
        kernel::landmark_softmax_row(got.data(), apart.data(), stride, count);
        const auto want = naive(s, mark);
        auto gradient = d, scores = s;
        kernel::landmark_softmax_row_backward(scores.data(), apart.data(), stride, count, gradient.data());
        for (std::size_t j = 0; j < std::size_t(count); ++j) {
          CHECK(got[j] == Approx(want[j]).margin(1e-15));
          double change = 0;
          for (const double step : {1e-5, -1e-5}) {
            auto moved = s;
            moved[j] += step;
            const auto weights = naive(moved, mark);
            for (std::size_t k = 0; k < std::size_t(count); ++k) change += weights[k] * d[k] / (2 * step);
          }
          CHECK(gradient[j] == Approx(change).margin(1e-8));
        }
      }
}
