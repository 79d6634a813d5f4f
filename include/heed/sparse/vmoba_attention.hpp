// SPDX-License-Identifier: Apache-2.0
// vmoba_attention: attention of a video's tokens to the blocks of one, two or three dimensions that answer best.
#pragma once

#include <utility>
#include <vector>

#include "heed/attention/routed.hpp"
#include "heed/attention/schedule/block_pools.hpp"
#include "heed/block/block_mean.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// softmax(q k^T / sqrt(D)) v, not causal, in which a query sees all keys of its own block and of chosen ones.
///
///   heed::VmobaAttention attend{{.patch_resolution = {8, 16, 16}, .block_size = {4, 4}, .threshold = 0.25}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q, k, v and out (B, N, H, D), N = t h w tokens in (t, h, w) raster order. block_size: {c} for runs of floor(c h w)
/// tokens, c frames, the last run possibly short; {ch, cw} for tiles of all frames; {ct, ch, cw} for tiles of ct
/// frames; tiles must divide their axes. Scores s = q . mean key of a block, compared within pools: the blocks of one
/// query and head (kQueryHead), all (block, query) of a head (kHeadGlobal), all of a sample (kOverall), or all (head,
/// query) of a block (kBlock). In each pool
/// - kTopK takes the k largest after the own blocks, k = top_k (clamped to the blocks), top_k N or top_k N H;
/// - kThreshold takes from g = (s - min) / (max - min), own blocks counting 0, the fewest of the largest entries that
///   bring the sum to max(0, threshold - own share) of the pool's total + 1e-6; at least one, all if they never do.
/// Ties go to the lower (block, head, query) in the order of blocks; the choice has no gradient. Where nothing but own
/// blocks is chosen, a query sees its own. Samples of a batch are pools of their own. Throws heed::Error for shapes and
/// options that do not fit. Time O(chosen pairs c D) and O(N blocks H D) for the scores; the selection is linear, it
/// sorts nothing. Source: Wu et al. 2025, VMoBA; vmoba.py of the authors' code. A model alternates the partitions.
struct VmobaAttention {
  struct Options {
    std::array<Index, 3> patch_resolution{1, 1, 1};  ///< t, h, w
    std::vector<double> block_size = {1};            ///< one to three sides
    BlockSelect select_mode = BlockSelect::kThreshold;
    BlockScope select_scope = BlockScope::kQueryHead;
    Index top_k = 3;          ///< 1 or more
    double threshold = 0.25;  ///< of the mass of a pool
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::VmobaAttention: q, k and v are (B, N, H, D)");
    check(sizes_of(q), sizes_of(k), sizes_of(v));
    const Index batch = sizes_of(q)[0], tokens = sizes_of(q)[1], heads = sizes_of(q)[2];
    const Tensor<std::int32_t, 1> order = block_order();  // the token at each place
    Tensor<std::int32_t, 1> place(tokens);
    for (Index x = 0; x < tokens; ++x) place(order(x)) = std::int32_t(x);

    using T = OperandScalar<Q>;
    const auto by_head = [](const auto& x) { return view(x).permute({0, 2, 1, 3}); };
    auto out = make_output<T, 4>(kName, {batch, tokens, heads, sizes_of(v)[3]}, q, k, v);
    const auto attend = [&](const auto& keys, const auto& values) {
      const Routes routes = choose(device, by_head(values_of(q)), values_of(keys), place);
      attend_routes(device, routes, by_head(parameter_with(q, k, v)), keys, values, {}, into(by_head(view(out))));
    };
    const auto k_heads = by_head(parameter_with(k, q, v)), v_heads = by_head(parameter_with(v, q, k));
    if (sides()[0] == 0) {  // the blocks of runs lie as they are
      attend(k_heads, v_heads);
      return out;
    }
    Tensor<std::int32_t, 3> moved(batch, heads, tokens);
    for (Index row = 0; row < batch * heads; ++row) std::copy_n(order.data(), tokens, moved.data() + row * tokens);
    auto&& space = intermediates<T>(kName, q, k, v);
    const auto keys = space.template make<4>(sizes_of(k_heads));
    const auto values = space.template make<4>(sizes_of(v_heads));
    gather(device, k_heads, moved, keys);
    gather(device, v_heads, moved, values);
    attend(keys, values);
    return out;
  }

 private:
  static constexpr std::string_view kName = "vmoba_attention";

  // What the queries (B, H, N, D) read of keys in the order of their blocks.
  template <class D, Real T>
  Routes choose(const D& device, const View<const T, 4>& queries, const View<const T, 4>& keys,
                const Tensor<std::int32_t, 1>& place) const {
    const Index size = block_length(), tokens = queries.size(2);
    const auto means = block_mean(device, keys, size);
    ScratchTensors<T> space;
    const auto scores = space.template make<4>({queries.size(0), queries.size(1), tokens, sizes_of(means)[2]});
    matmul(device, queries, const_view(means).permute({0, 1, 3, 2}), scores);
    const auto mask = choose_from_pools(device, const_view(scores), const_view(place), size,
                                        {options.select_mode, options.select_scope, options.top_k, options.threshold});
    return route_blocks(device, const_view(mask), queries.size(1),
                        [&](Index, Index c) { return std::pair(c * size, std::min(tokens, (c + 1) * size)); });
  }

  Index frame() const { return options.patch_resolution[1] * options.patch_resolution[2]; }
  /// The sides of a tile, or {0, 0, 0} for runs.
  std::array<Index, 3> sides() const {
    const auto& b = options.block_size;
    if (b.size() == 1) return {0, 0, 0};
    if (b.size() == 2) return {options.patch_resolution[0], Index(b[0]), Index(b[1])};
    return {Index(b[0]), Index(b[1]), Index(b[2])};
  }
  Index block_length() const {
    const auto s = sides();
    return s[0] > 0 ? s[0] * s[1] * s[2] : Index(std::floor(options.block_size[0] * double(frame())));
  }
  Tensor<std::int32_t, 1> block_order() const {
    const auto [t, h, w] = options.patch_resolution;
    Tensor<std::int32_t, 1> order(t * h * w);
    const auto s = sides();
    if (s[0] == 0) {
      for (Index x = 0; x < order.size(); ++x) order(x) = std::int32_t(x);
      return order;
    }
    Index at = 0;
    for (Index bt = 0; bt < t; bt += s[0])
      for (Index bh = 0; bh < h; bh += s[1])
        for (Index bw = 0; bw < w; bw += s[2])
          for (Index x = bt; x < bt + s[0]; ++x)
            for (Index y = bh; y < bh + s[1]; ++y)
              for (Index z = bw; z < bw + s[2]; ++z) order(at++) = std::int32_t((x * h + y) * w + z);
    return order;
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v) const {
    require_shape(kName, "k", k, q);
    require(v[0] == q[0] && v[1] == q[1] && v[2] == q[2], kName, "v must have shape (B, N, H, Dv) = (", q[0], ", ",
            q[1], ", ", q[2], ", Dv), got ", shape_text(v));
    const auto [t, h, w] = options.patch_resolution;
    require(t > 0 && h > 0 && w > 0 && t * h * w == q[1], kName, "patch_resolution ",
            shape_text(options.patch_resolution), " must have N = ", q[1], " tokens");
    require(!options.block_size.empty() && options.block_size.size() <= 3, kName,
            "block_size must have one to three sides, got ", options.block_size.size());
    require(block_length() > 0, kName, "a block must have a token, got ", block_length());
    if (const auto s = sides(); s[0] > 0)
      for (std::size_t axis = 0; axis < 3; ++axis)
        require(options.patch_resolution[axis] % s[axis] == 0, kName, "a tile of ", shape_text(s),
                " must divide patch_resolution ", shape_text(options.patch_resolution));
    require(options.top_k > 0, kName, "top_k must be 1 or more, got ", options.top_k);
    require(options.select_scope != BlockScope::kBlock || options.select_mode == BlockSelect::kThreshold, kName,
            "the scope kBlock needs select_mode kThreshold");
  }
};

}  // namespace heed::inline HEED_ISA
