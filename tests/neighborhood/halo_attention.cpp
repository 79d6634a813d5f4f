// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/halo_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::random_tensor;

namespace {

heed::HaloAttention<float> make(const heed::HaloAttention<float>::Options& options, Index channels, Index width) {
  heed::HaloAttention<float> attend{options};
  const Index rows = options.num_heads * width, table = 2 * (options.block_size + 2 * options.halo_size) - 1;
  unsigned seed = 30;
  for (auto* layer : {&attend.q, &attend.k, &attend.v}) {
    layer->weight = random_tensor<float, 2>({rows, channels}, ++seed, 0.5);
    layer->bias = random_tensor<float, 1>({rows}, ++seed, 0.5);
  }
  attend.rel_h = random_tensor<float, 2>({table, width}, 41);
  attend.rel_w = random_tensor<float, 2>({table, width}, 42);
  return attend;
}

// By the definition, pixel by pixel; every pixel is a query.
Tensor<double, 4> naive(const heed::HaloAttention<float>& attend, const Tensor<float, 4>& x) {
  const auto& o = attend.options;
  const Index batch = x.dimension(0), h = x.dimension(2), w = x.dimension(3), size = o.block_size;
  const Index window = size + 2 * o.halo_size, rows = attend.q.weight.dimension(0), width = rows / o.num_heads;
  const auto image = heed::const_view(x).permute({0, 2, 3, 1});
  const auto q = attend.q(image), k = attend.k(image), v = attend.v(image);
  Tensor<double, 4> out(batch, rows, h, w);
  out.setZero();
  for (Index b = 0; b < batch; ++b)
    for (Index head = 0; head < o.num_heads; ++head)
      for (Index y = 0; y < h; ++y)
        for (Index c = 0; c < w; ++c) {
          double total = 0;
          for (Index i = 0; i < window * window; ++i) {
            const Index ky = y / size * size - o.halo_size + i / window,
                        kc = c / size * size - o.halo_size + i % window;
            const bool inside = ky >= 0 && ky < h && kc >= 0 && kc < w;
            if (o.mask_padding && !inside) continue;
            double dot = 0, place = 0;
            for (Index d = 0; d < width; ++d) {
              const double query = double(q(b, y, c, head * width + d));
              if (inside) dot += query * double(k(b, ky, kc, head * width + d));
              place += query * double(attend.rel_h(i / window - y % size + window - 1, d) +
                                      attend.rel_w(i % window - c % size + window - 1, d));
            }
            const double scale = 1 / std::sqrt(double(width));
            const double weight = std::exp(o.scale_pos_embed ? scale * (dot + place) : scale * dot + place);
            total += weight;
            for (Index d = 0; d < width && inside; ++d)
              out(b, head * width + d, y, c) += weight * double(v(b, ky, kc, head * width + d));
          }
          for (Index d = 0; d < width; ++d) out(b, head * width + d, y, c) /= total;
        }
  return out;
}

}  // namespace

TEST_CASE("halo_attention: halos of all sizes, padding that counts and that does not") {
  for (const auto& [size, halo, mask, scaled] : {std::tuple(Index(3), Index(0), false, false),
                                                 {3, 1, true, false},
                                                 {2, 3, false, true},
                                                 {1, 1, true, true},
                                                 {6, 2, false, false}}) {
    const auto attend = make(
        {.num_heads = 2, .block_size = size, .halo_size = halo, .scale_pos_embed = scaled, .mask_padding = mask}, 4, 3);
    const auto x = random_tensor<float, 4>({2, 4, 6, 12}, 1);  // (B, C, h, w)
    CHECK(heed::test::error_of(attend(x), naive(attend, x)) < 1e-5);
  }
}

TEST_CASE("halo_attention: with stride 2 an odd block is pooled, an even one asked from every other pixel; errors") {
  const auto x = random_tensor<float, 4>({1, 4, 6, 6}, 1);
  auto odd = make({.num_heads = 1, .block_size = 3, .halo_size = 1, .stride = 2}, 4, 3);
  auto pooled = odd(x);
  odd.options.stride = 1;
  CHECK(heed::test::error_of(pooled, heed::average_pool(odd(x), heed::PoolOptions{})) < 1e-6);

  // A window of the same tables, asked by pixels two apart.
  auto even = make({.num_heads = 1, .block_size = 6, .halo_size = 0, .stride = 2}, 4, 3);
  even.rel_h.setZero();
  even.rel_w.setZero();
  const auto strided = even(x);
  even.options.stride = 1;
  const auto all = even(x);
  for (Index y = 0; y < 3; ++y)
    for (Index c = 0; c < 3; ++c) CHECK(std::abs(strided(0, 1, y, c) - all(0, 1, 2 * y, 2 * c)) < 1e-5f);

  even.options.block_size = 4;
  CHECK_THROWS_WITH(even(x), "halo_attention: h and w must be multiples of block_size = 4, got shape (1, 4, 6, 6)");
  even.options.block_size = 3;
  CHECK_THROWS_WITH(even(x), "halo_attention: rel_h must have shape (5, 3), got (11, 3)");
}
