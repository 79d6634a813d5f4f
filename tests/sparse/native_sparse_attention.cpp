// SPDX-License-Identifier: Apache-2.0
#include "heed/sparse/native_sparse_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("native_sparse_attention is its three branches, each under its gate") {
  const Index tokens = 45;
  const auto q = random_tensor<float, 4>({1, tokens, 4, 6}, 1), k = random_tensor<float, 4>({1, tokens, 2, 6}, 2),
             v = random_tensor<float, 4>({1, tokens, 2, 3}, 3);
  const auto by_head = [](const Tensor<float, 4>& x) {
    return Tensor<float, 4>(x.shuffle(Eigen::array<int, 4>{0, 2, 1, 3}));
  };
  Tensor<float, 3> on(1, tokens, 4), off(1, tokens, 4);
  on.setConstant(1);
  off.setZero();
  NativeSparseAttention attend{{.block_size = 8, .block_count = 3, .window_size = 5}};
  const auto error = [&](const auto& out, const NaiveAttention& naive) {
    return error_of(view(out).permute({0, 2, 1, 3}), naive(by_head(q), by_head(k), by_head(v)).out);
  };
  NaiveAttention window;
  window.visible = [](Index, Index, Index i, Index j) { return j <= i && j > i - 5; };
  CHECK(error(attend(q, k, v, off, off, on).out, window) < 2e-6);

  const auto [out, selected] = attend(q, k, v, off, on, off);
  REQUIRE(const_view(selected).sizes == std::array<Index, 4>{1, tokens, 2, 6});
  NaiveAttention chosen;
  chosen.visible = [&, &mask = selected](Index, Index h, Index i, Index j) {
    return j <= i && mask(0, i, h / 2, j / 8) != 0;
  };
  CHECK(error(out, chosen) < 2e-6);
  check_threads([&](const heed::DeviceRef& device) { return attend(device, q, k, v, on, on, on).out; });
  for (Index t = 0; t < tokens; ++t) {
    Index count = 0;
    for (Index c = 0; c < 6; ++c) count += selected(0, t, 1, c);
    CHECK(selected(0, t, 1, t / 8) == 1);
    CHECK(count == std::min<Index>(3, t / 8 + 1));
  }

  const auto compressed = attend(q, k, v, on, off, off).out;
  for (Index d = 0; d < 3; ++d) {
    CHECK(compressed(0, 6, 0, d) == 0);  // no complete block yet
    float mean = 0;
    for (Index j = 0; j < 8; ++j) mean += v(0, j, 0, d) / 8;
    CHECK(std::abs(compressed(0, 7, 0, d) - mean) < 1e-6f);  // the only block
  }
  attend.options.window_size = 0;
  CHECK(error_of(attend(q, k, v, off, on, on).out, out) == 0);
  CHECK_THROWS_AS(attend(q, k, v, off, on, Tensor<float, 3>(1, tokens, 2)), Error);
}
