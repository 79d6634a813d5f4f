// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/dynamic_mask_attention.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

namespace {

// Which keys are among the `size` largest biases that query i sees, of the first `seen` keys.
std::vector<bool> largest(const Tensor<float, 4>& bias, Index g, Index i, Index seen, Index size) {
  const Index row = bias.dimension(2) == 1 ? 0 : i;
  std::vector<Index> order(std::size_t(seen), 0);
  std::iota(order.begin(), order.end(), Index(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](Index a, Index b) { return bias(0, g, row, a) > bias(0, g, row, b); });
  std::vector<bool> kept(std::size_t(bias.dimension(3)));
  for (Index x = 0; x < std::min(size, seen); ++x) kept[std::size_t(order[std::size_t(x)])] = true;
  return kept;
}

}  // namespace

TEST_CASE("dynamic_mask_attention keeps the largest biases, of each query or of all") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {150, 150}, {70, 131}, {90, 40}})
    for (const bool is_causal : {false, true})
      for (const Index rows : {Index(1), n})
        for (const Index size : {1, 17, 500}) {
          const auto q = random_tensor<float, 4>({1, 4, n, 5}, 1), k = random_tensor<float, 4>({1, 2, m, 5}, 2),
                     v = random_tensor<float, 4>({1, 2, m, 3}, 3);
          auto bias = random_tensor<float, 4>({1, 2, rows, m}, 4);
          for (Index i = 0; i < bias.size(); i += 3) bias.data()[i] = std::round(bias.data()[i]);
          std::vector<std::vector<bool>> kept;
          for (Index g = 0; g < 2; ++g)
            for (Index i = 0; i < n; ++i)
              kept.push_back(largest(bias, g, i, is_causal ? std::clamp<Index>(i + m - n + 1, 0, m) : m, size));
          NaiveAttention naive;
          naive.visible = [&, n = n](Index, Index h, Index i, Index j) {
            return kept[std::size_t(h / 2 * n + i)][std::size_t(j)];
          };
          naive.score = [&](double s, Index, Index h, Index i, Index j) {
            return s + double(bias(0, h / 2, rows == 1 ? 0 : i, j));
          };
          const DynamicMaskAttention attend{{.window_size = size, .causal = is_causal}};
          CHECK(error_of(attend(q, k, v, bias), naive(q, k, v).out) < 3e-6);
        }
}

TEST_CASE("dynamic_mask_attention by sign, and by the majority of a block") {
  const Index n = 20, m = 23;
  const auto q = random_tensor<float, 4>({1, 1, n, 5}, 1), k = random_tensor<float, 4>({1, 1, m, 5}, 2);
  const auto bias = random_tensor<float, 4>({1, 1, n, m}, 4);
  NaiveAttention naive;
  naive.score = [&](double s, Index, Index, Index i, Index j) { return s + double(bias(0, 0, i, j)); };
  DynamicMaskAttention attend{{.causal = true, .mask_type = BiasMask::kRelu}};
  const auto kept = [&](Index i, Index j) { return j <= i + m - n && bias(0, 0, i, j) > 0; };
  naive.visible = [&](Index, Index, Index i, Index j) { return kept(i, j); };
  CHECK(error_of(attend(q, k, k, bias), naive(q, k, k).out) < 3e-6);
  attend.options.block_size = 4;
  naive.visible = [&](Index, Index, Index i, Index j) {
    const Index begin = j / 4 * 4, length = std::min<Index>(4, m - begin);
    Index count = 0;
    for (Index x = begin; x < begin + length; ++x) count += kept(i, x);
    return j <= i + m - n && 2 * count > length;
  };
  CHECK(error_of(attend(q, k, k, bias), naive(q, k, k).out) < 3e-6);
  Tensor<float, 4> negative(1, 1, n, m);
  negative.setConstant(-1);
  const auto empty = attend(q, k, k, negative);
  for (Index i = 0; i < empty.size(); ++i) CHECK(empty.data()[i] == 0);
  CHECK_THROWS_AS(attend(q, k, k, Tensor<float, 4>(1, 1, 3, m)), Error);
}
