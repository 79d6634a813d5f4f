// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/dual_attention_block.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class Part>
void fill(Part& part, Index channels, Index hidden, unsigned seed) {
  for (auto* conv : {&part.cpe0, &part.cpe1}) {
    conv->weight = random_tensor<float, 4>({channels, 1, 3, 3}, ++seed, 0.3);
    conv->bias = random_tensor<float, 1>({channels}, ++seed);
  }
  part.attn.qkv.weight = random_tensor<float, 2>({3 * channels, channels}, ++seed);
  part.attn.out.weight = random_tensor<float, 2>({channels, channels}, ++seed);
  part.fc1.weight = random_tensor<float, 2>({hidden, channels}, ++seed);
  part.fc2.weight = random_tensor<float, 2>({channels, hidden}, ++seed);
}

}  // namespace

TEST_CASE("dual_attention_block: of attentions that are 0, what is left is position codes and the feed-forward") {
  heed::DualAttentionBlock<float> block{
      {.h = 5, .w = 3, .num_heads = 2, .groups = 1, .window_size = 2, .mlp_ratio = 1.5}};
  fill(block.spatial, 4, 6, 1);
  fill(block.channel, 4, 6, 20);
  const auto x = random_tensor<float, 3>({2, 15, 4}, 50);
  const auto all = block(x);
  REQUIRE(heed::const_view(all.spatial).sizes == std::array<Index, 3>{2, 15, 4});
  Eigen::ThreadPool pool(3);
  const auto again = block(Eigen::ThreadPoolDevice(&pool, 3), x);
  CHECK(std::memcmp(again.out.data(), all.out.data(), sizeof(float) * std::size_t(again.out.size())) == 0);

  block.spatial.attn.out.weight.setZero();
  block.options.ffn = false;
  const auto step = [&](const Tensor<float, 3>& tokens, const heed::Conv2d<float>& conv) {
    Tensor<float, 3> result = tokens;
    for (Index b = 0; b < 2; ++b)
      for (Index y = 0; y < 5; ++y)
        for (Index c = 0; c < 3; ++c)
          for (Index d = 0; d < 4; ++d) {
            float sum = conv.bias(d);
            for (Index v = std::max<Index>(0, y - 1); v < std::min<Index>(5, y + 2); ++v)
              for (Index u = std::max<Index>(0, c - 1); u < std::min<Index>(3, c + 2); ++u)
                sum += conv.weight(d, 0, v - y + 1, u - c + 1) * tokens(b, v * 3 + u, d);
            result(b, y * 3 + c, d) += sum;
          }
    return result;
  };
  CHECK(error_of(block(x).spatial, step(step(x, block.spatial.cpe0), block.spatial.cpe1)) < 1e-5);
}

TEST_CASE("dual_attention_block: errors") {
  heed::DualAttentionBlock<float> block{{.h = 2, .w = 3, .num_heads = 1, .groups = 1}};
  fill(block.spatial, 4, 16, 1);
  const auto x = random_tensor<float, 3>({1, 6, 4}, 50);
  CHECK_THROWS_WITH(block(x),
                    "dual_attention_block: channel.cpe0.weight must have shape (4, 1, 3, 3), got (0, 0, 0, 0)");
  block.options.w = 4;
  CHECK_THROWS_WITH(block(x), "dual_attention_block: x must have h * w = 2 * 4 tokens, got shape (1, 6, 4)");
}
