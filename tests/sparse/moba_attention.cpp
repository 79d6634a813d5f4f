// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/moba_attention.hpp"

#include <set>

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("moba_attention sees its own block and the best earlier ones of its sequence") {
  const Index tokens = 83, size = 8, width = 6;
  const auto q = random_tensor<float, 3>({tokens, 2, width}, 1), k = random_tensor<float, 3>({tokens, 2, width}, 2),
             v = random_tensor<float, 3>({tokens, 2, 5}, 3);
  Tensor<std::int32_t, 1> ends(4);
  ends.setValues({0, 51, 51, 83});
  for (const Index top_k : {1, 3, 100}) {
    const auto begin_of = [](Index t) { return t < 51 ? Index(0) : Index(51); };
    const auto chosen = [&](Index h, Index i) {
      const Index start = begin_of(i), own = (i - start) / size;
      std::vector<std::pair<double, Index>> gates;
      for (Index c = 0; c < own; ++c) {
        double gate = 0;
        for (Index j = start + c * size; j < start + (c + 1) * size; ++j)
          for (Index d = 0; d < width; ++d) gate -= double(q(i, h, d)) * double(k(j, h, d)) / double(size);
        gates.emplace_back(gate, c);
      }
      std::sort(gates.begin(), gates.end());
      std::set<Index> blocks{own};
      for (std::size_t x = 0; x < std::min(gates.size(), std::size_t(top_k - 1)); ++x) blocks.insert(gates[x].second);
      return blocks;
    };
    NaiveAttention naive;
    naive.visible = [&](Index, Index h, Index i, Index j) {
      return j <= i && j >= begin_of(i) && chosen(h, i).contains((j - begin_of(i)) / size);
    };
    const auto heads = [](const Tensor<float, 3>& x) {
      return Tensor<float, 4>(x.shuffle(Eigen::array<int, 3>{1, 0, 2})
                                  .reshape(Eigen::array<Index, 4>{1, x.dimension(1), x.dimension(0), x.dimension(2)}));
    };
    const auto want = naive(heads(q), heads(k), heads(v)).out;
    const auto out = MobaAttention{{.block_size = size, .top_k = top_k}}(q, k, v, ends);
    CHECK(error_of(out, const_view(want).select(0, 0).permute({1, 0, 2})) < 2e-6);
    check_threads([&](const heed::DeviceRef& device) {
      return MobaAttention{{.block_size = size, .top_k = top_k}}(device, q, k, v, ends);
    });
  }
  ends(3) = 80;
  CHECK_THROWS_AS((MobaAttention{{.block_size = 8, .top_k = 2}}(q, k, v, ends)), Error);
}
