// SPDX-License-Identifier: Apache-2.0
// halo_attention: the pixels of a block share a window of keys that reaches beyond it.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/embedding.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/relative_shift.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// Self-attention of blocks of block_size x block_size pixels to their windows of W x W, W = block_size + 2 halo_size,
/// with relative positions along both axes.
///
///   heed::HaloAttention<float> attend{{.num_heads = 4, .block_size = 8, .halo_size = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, C, h, w), h and w multiples of block_size; out (B, H Dv, h / stride, w / stride). q.weight and k.weight
/// (H D, C), v.weight (H Dv, C), their biases or none; rel_h and rel_w (2 W - 1, D). There is no output projection.
///
/// 1. q, k and v are projections of each pixel. With stride 2, an even block and no avg_down, the queries are the
///    pixels (2 i, 2 j) alone, n = block_size / 2 on each side of a block; else n = block_size.
/// 2. Block (by, bx) sees the keys of rows by * block_size - halo_size and W - 1 more, and of columns likewise. A pixel
///    outside of the map has k = v = 0, without bias, and counts; with mask_padding it is hidden.
/// 3. Query (y, x) of a block, y and x below n, and key (y', x') of its window score q.k / sqrt(D) +
///    q.(rel_h[y' - y + W - 1] + rel_w[x' - x + W - 1]); with scale_pos_embed the sum is divided by sqrt(D) as a whole.
/// 4. Softmax over the window, weighted sum of v, heads one behind the other, blocks back in place. With stride 2 and
///    all pixels as queries, the mean over 2 x 2 pixels.
///
/// The position term is a product of its own with W features along each axis that k has beside its own, so that no
/// weight or bias is stored. Throws heed::Error, before anything is written, for shapes and options that do not fit.
/// Time O(h w W^2 (D + 2 W + Dv)), memory O(h w (W / block_size)^2 C). The same bits for any number of threads.
/// Source: Vaswani et al., CVPR 2021 (HaloNet), which has no official code: timm's HaloAttn. mask_padding is a
/// transcription.
template <Real T>
struct HaloAttention {
  struct Options {
    Index num_heads = 8;
    Index block_size = 8;  ///< pixels, 1 or more
    Index halo_size = 3;   ///< pixels, 0 or more
    Index stride = 1;      ///< 1 or 2
    bool avg_down = false;
    bool scale_pos_embed = false;
    bool mask_padding = false;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {};
  Tensor<T, 2> rel_h = {}, rel_w = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v);
    f("rel_h", rel_h);
    f("rel_w", rel_w);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::HaloAttention: x is (B, C, h, w)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Plan plan(options, sizes);
    const Index heads = options.num_heads, width = q.weight.dimension(0) / heads;
    const Index blocks = sizes[0] * plan.blocks, n = plan.queries, window = plan.window;
    const double factor = 1 / std::sqrt(double(width));

    const auto image = contiguous(device, view(x).permute({0, 2, 3, 1}));
    const auto pixels = view(image).merge(1);
    const auto queries = q(device, gather(device, pixels, plan.of_batches(plan.query_pixels)));
    const auto keys = gather(device, k(device, pixels), plan.of_batches(plan.key_pixels));
    const auto values = gather(device, v(device, pixels), plan.of_batches(plan.key_pixels));

    // q beside its products with the rows and with the columns of the window; k beside the row and column that it is.
    const auto grid = view(queries).template reshape<5>({blocks, n, n, heads, width});
    const auto by_row = contiguous(device, grid.permute({0, 3, 2, 1, 4}));     // (.., heads, x, y, D)
    const auto by_column = contiguous(device, grid.permute({0, 3, 1, 2, 4}));  // (.., heads, y, x, D)
    const auto rows = positions(device, by_row, rel_h, n, window),
               columns = positions(device, by_column, rel_w, n, window);
    const auto shifted_rows = shifted(rows, heads, window).permute({0, 1, 3, 2, 4});
    const auto shifted_columns = shifted(columns, heads, window);
    const auto scaled = scale(device, by_column, options.scale_pos_embed ? 1 : factor);
    const auto wide_q = concat<4>(device, scaled, shifted_rows, shifted_columns);
    const auto places = constant_with(window_places(window), x);
    const auto wide_k =
        concat<3>(device, view(keys).template reshape<4>({blocks, window * window, heads, width}), places);

    const auto seen = packed_with(plan.key_mask(options.mask_padding), x);
    const auto mask = const_view(seen).template reshape<2>({options.mask_padding ? blocks : 0, window * window});
    const auto attention = softmax_attention(when(options.mask_padding, key_mask(mask)),
                                             {.scale = options.scale_pos_embed ? factor : 1.0});
    const Index value_width = v.weight.dimension(0);
    const auto mixed = attend_heads(device, attention, view(wide_q).merge(2), view(wide_k).permute({0, 2, 1, 3}),
                                    view(values)
                                        .template reshape<3>({blocks, window * window, value_width})
                                        .split(2, value_width / heads)
                                        .permute({0, 2, 1, 3}));

    const auto tokens = gather(device, view(mixed).template reshape<3>({sizes[0], plan.blocks * n * n, value_width}),
                               plan.of_batches(plan.tokens));
    auto out = contiguous(device, view(tokens).split(1, plan.columns).permute({0, 3, 1, 2}));
    if (plan.pooled) return average_pool(device, out, PoolOptions{});
    return out;
  }

 private:
  static constexpr std::string_view kName = "halo_attention";

  // Which pixels go where: one list of indices for all batches.
  struct Plan {
    Index batch, blocks, queries, window, rows, columns;  // rows and columns: of the results before pooling
    bool pooled;
    std::vector<std::int32_t> query_pixels, key_pixels, tokens;

    Plan(const Options& o, const std::array<Index, 4>& x) : batch(x[0]), window(o.block_size + 2 * o.halo_size) {
      const bool strided = o.stride == 2 && !o.avg_down && o.block_size % 2 == 0;
      const Index step = strided ? 2 : 1, across = x[3] / o.block_size;
      pooled = o.stride == 2 && !strided;
      queries = o.block_size / step;
      blocks = x[2] / o.block_size * across;
      rows = x[2] / step;
      columns = x[3] / step;
      tokens.resize(std::size_t(rows * columns));
      for (Index block = 0; block < blocks; ++block) {
        const Index top = block / across * o.block_size, left = block % across * o.block_size;
        for (Index y = 0; y < queries; ++y)
          for (Index x_in = 0; x_in < queries; ++x_in) {
            const Index row = top + y * step, column = left + x_in * step;
            tokens[std::size_t(row / step * columns + column / step)] = std::int32_t(query_pixels.size());
            query_pixels.push_back(std::int32_t(row * x[3] + column));
          }
        for (Index y = top - o.halo_size; y < top - o.halo_size + window; ++y)
          for (Index column = left - o.halo_size; column < left - o.halo_size + window; ++column) {
            const bool inside = y >= 0 && y < x[2] && column >= 0 && column < x[3];
            key_pixels.push_back(std::int32_t(inside ? y * x[3] + column : Index(-1)));
          }
      }
    }
    View<const std::int32_t, 2> of_batches(const std::vector<std::int32_t>& indices) const {
      return {indices.data(), {batch, Index(indices.size())}, {0, 1}};
    }
    // (B, keys of all blocks), 1 inside of the map; empty where it is not wanted.
    Tensor<std::uint8_t, 2> key_mask(bool wanted) const {
      if (!wanted) return Tensor<std::uint8_t, 2>(0, 0);
      return gathered_mask(of_batches(key_pixels));
    }
  };

  // Products of queries (B', heads, a, b, D) with the rows of a table that stand for distances from -b to W - 1.
  template <class D, Operand X>
  auto positions(const D& device, const X& x, const Tensor<T, 2>& table, Index n, Index window) const {
    Tensor<std::int32_t, 1> rows(window + n);
    // The first one belongs to no pair.
    for (Index c = 0; c < window + n; ++c) rows(c) = std::int32_t(std::max<Index>(0, c - n + window - 1));
    const Tensor<T, 1> no_bias;
    return linear(device, x, embedding(device, parameter_with(table, x), rows), no_bias);
  }
  // (B', heads, a, b, b + W) by distance as (B', heads, a, b, W) by place.
  template <Operand X>
  static auto shifted(const X& x, Index heads, Index window) {
    const auto lines = view(x).merge(0);
    return relative_shift(lines, window).split(0, heads);
  }

  // (1, W^2, 1, 2 W): 1 at the row and at the column of a key.
  static Tensor<T, 4> window_places(Index window) {
    Tensor<T, 4> places(1, window * window, 1, 2 * window);
    places.setZero();
    for (Index key = 0; key < window * window; ++key)
      places(0, key, 0, key / window) = places(0, key, 0, window + key % window) = T(1);
    return places;
  }

  void check(const std::array<Index, 4>& x) const {
    const Options& o = options;
    require(o.num_heads > 0 && o.block_size > 0 && o.halo_size >= 0 && (o.stride == 1 || o.stride == 2), kName,
            "num_heads and block_size must be 1 or more, halo_size 0 or more and stride 1 or 2, got ", o.num_heads,
            ", ", o.block_size, ", ", o.halo_size, " and ", o.stride);
    require(x[2] > 0 && x[3] > 0 && x[2] % o.block_size == 0 && x[3] % o.block_size == 0, kName,
            "h and w must be multiples of block_size = ", o.block_size, ", got shape ", shape_text(x));
    const Index width = q.weight.dimension(0), value_width = v.weight.dimension(0);
    require(width > 0 && width % o.num_heads == 0 && value_width > 0 && value_width % o.num_heads == 0, kName,
            "q.weight and v.weight must have a multiple of ", o.num_heads, " rows, got ", width, " and ", value_width);
    check_linear(kName, "q", q, x[1], width);
    check_linear(kName, "k", k, x[1], width);
    check_linear(kName, "v", v, x[1], value_width);
    const std::array<Index, 2> table{2 * (o.block_size + 2 * o.halo_size) - 1, width / o.num_heads};
    require_shape(kName, "rel_h", const_view(rel_h).sizes, table);
    require_shape(kName, "rel_w", const_view(rel_w).sizes, table);
  }
};

}  // namespace heed::inline HEED_ISA
