// SPDX-License-Identifier: Apache-2.0
// bi_level_routing_attention: attention of the regions of a map to the regions that answer them best.
#pragma once

#include <cmath>

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/blocks.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/max_pool.hpp"
#include "heed/block/region.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// How the keys and values of a region become fewer.
enum class RegionPool { kIdentity, kAverage, kMax, kAdaptiveAverage, kAdaptiveMax };

/// Each of n_win x n_win regions attends to the tokens of its top_k regions.
///
///   heed::BiLevelRoutingAttention<float> attend{{.num_heads = 2, .n_win = 7, .top_k = 4}};
///   auto [y, route_index] = attend(x);                      // or attend(device, x)
///
/// x (B, h, w, C), out as x; route_index (B, n^2, top_k) int32, the best region first. (q, k, v) = x qkv.weight^T +
/// qkv.bias, qkv.weight (2 Cq + C, C). With q_r and k_r the means of a region, A = scale q_r k_r^T; the regions of
/// region i are the top_k largest of A_i, and its queries attend to their tokens, H heads, factor `scale`. out = (that
/// + lepe(v)) out.weight^T + out.bias, lepe a depthwise convolution (C, 1, s, s) with zeros around the map, left out
/// for kernel_size = 0, the projection for out_proj = false.
///
/// - kv_downsample pools the keys and values of each region, by windows of kv_downsample_ratio or to kv_per_win^2
/// cells.
/// - soft_routing multiplies keys and values by r, the softmax of the chosen A; with diff_routing r has a gradient, and
///   with that param_routing sends q_r and k_r through router.weight (Cq, Cq) and router.bias first.
/// - auto_pad pads x by zeros to multiples of n_win; otherwise n_win must divide h and w. Padded positions are
/// attended.
///
/// top_k is clamped to the regions; ties go to the lower region; the choice has no gradient. Throws heed::Error for
/// shapes and options that do not fit. Time O(h w top_k h w / n^2 C) and O(n^4 C) for the routing: the keys of other
/// regions are not read. The same bits for any number of threads.
/// Source: Zhu et al., CVPR 2023, BiFormer; the authors' bra_legacy.
template <Real T>
struct BiLevelRoutingAttention {
  struct Options {
    Index num_heads = 8;
    Index n_win = 7;   ///< regions along an axis
    Index top_k = 4;   ///< 1 or more
    Index qk_dim = 0;  ///< Cq; 0: C
    double scale = 0;  ///< 0: Cq^-0.5
    RegionPool kv_downsample = RegionPool::kIdentity;
    Index kv_downsample_ratio = 4;  ///< window and stride of kAverage and kMax
    Index kv_per_win = 4;           ///< side of the adaptive ones
    bool soft_routing = false;
    bool diff_routing = false;
    bool param_routing = false;
    Index kernel_size = 3;  ///< of lepe, odd; 0: none
    bool auto_pad = false;
    bool out_proj = true;
  };
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::int32_t, 3> route_index;
  };

  Options options = {};
  Linear<T> qkv = {}, out = {}, router = {};
  Conv2d<T> lepe = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("qkv.", qkv, f);
    visit_part("out.", out, f, heed::optional);
    visit_part("lepe.", lepe, f, heed::optional);
    visit_part("router.", router, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::BiLevelRoutingAttention: x is (B, h, w, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index n = options.n_win, height = (sizes[1] + n - 1) / n * n, width = (sizes[2] + n - 1) / n * n;
    if (height != sizes[1] || width != sizes[2]) {
      const auto padded = pad_map(device, x, height, width);
      const auto result = attend(device, view(padded));
      auto cropped = contiguous(device, view(result.out).slice(1, 0, sizes[1]).slice(2, 0, sizes[2]));
      return Result<decltype(cropped)>{std::move(cropped), result.route_index};
    }
    return attend(device, view(x));
  }

 private:
  static constexpr std::string_view kName = "bi_level_routing_attention";

  template <class D, class X>
  auto attend(const D& device, const X& x) const {
    const auto sizes = sizes_of(x);
    const Index n = options.n_win, regions = n * n, rh = sizes[1] / n, rw = sizes[2] / n, channels = sizes[3];
    const Index qk = qk_dim(channels), chosen = std::min(options.top_k, regions);
    const double scale_by = options.scale != 0 ? options.scale : 1 / std::sqrt(double(qk));
    const SoftmaxOptions softmax_options{.scale = scale_by};
    const auto map = qkv(device, x);
    const auto packed = to_regions(device, map, rh, rw);  // (B, n^2, tokens, 2 Cq + C)
    const auto q = view(packed).slice(3, 0, qk);
    const auto kv = view(packed).slice(3, qk, qk + channels);

    const auto related = [&](const auto& queries, const auto& keys) {
      const auto q_r = mean(device, queries, {2}), k_r = mean(device, keys, {2});
      const auto product = [&](const auto& a, const auto& b) {
        return scale(device, matmul(device, a, b.permute({0, 2, 1})), scale_by);
      };
      if (!options.param_routing) return product(view(q_r).select(2, 0), view(k_r).select(2, 0));
      const auto a = router(device, view(q_r).select(2, 0));
      const auto b = router(device, view(k_r).select(2, 0));
      return product(view(a), view(b));
    };
    const auto keys_of = [&](const auto& both) { return both.slice(3, 0, qk); };
    const auto scores = related(values_of(q), keys_of(values_of(kv)));
    const auto best = top_k(device, scores, chosen);

    const auto finish = [&](const auto& mixed) {  // (B, n^2, tokens, C)
      const auto grid = from_regions(device, mixed, n, rw);
      const auto project = [&](const auto& y) { return options.out_proj ? out(device, y) : contiguous(device, y); };
      if (options.kernel_size == 0) return project(view(grid));
      const auto v_map = view(map).slice(3, 2 * qk, channels).permute({0, 3, 1, 2});
      const auto local =
          conv_2d(device, v_map, lepe.weight, lepe.bias, ConvOptions::same(options.kernel_size, channels));
      const auto both = add(device, view(grid), view(local).permute({0, 2, 3, 1}));
      return project(view(both));
    };
    using Out = decltype(finish(view(packed)));
    const auto heads = [&](const auto& rows) { return split_heads(rows, options.num_heads); };
    const auto attend_to = [&](const auto& pooled) {  // (B, n^2, tokens of a region, Cq + C)
      const Index per_region = sizes_of(pooled)[2];
      if (!options.soft_routing) {
        const auto mask = packed_with(chosen_mask<std::uint8_t>(best.indices, regions), x);
        const auto attention =
            softmax_attention(block_mask(const_view(mask).split(0, 1), rh * rw, per_region), softmax_options);
        const auto mixed = attend_heads(device, attention, heads(q.merge(1)), heads(keys_of(pooled).merge(1)),
                                        heads(pooled.slice(3, qk, channels).merge(1)));
        return Result<Out>{finish(view(mixed).split(1, rh * rw)), best.indices};
      }
      // Every region has keys and values of its own: those of its regions, times r.
      const auto dense = contiguous(device, pooled);
      const auto gathered = gather(device, view(dense).merge(2), const_view(best.indices).merge(1));
      const auto own = view(gathered).split(2, qk + channels).split(1, chosen);  // (B, n^2, top_k, tokens, Cq + C)
      const auto with = [&](const auto& r) {
        const auto weighted = multiply(device, own, view(r).split(2, 1).split(3, 1));
        const auto rows = view(weighted).merge(2).merge(0);
        const auto mixed = attend_heads(device, softmax_attention(softmax_options), heads(q.merge(0)),
                                        heads(rows.slice(2, 0, qk)), heads(rows.slice(2, qk, channels)));
        return Result<Out>{finish(view(mixed).split(0, regions)), best.indices};
      };
      if (!options.diff_routing) return with(constant_with(softmax(device, best.values), x));
      Tensor<std::int32_t, 2> places(sizes[0], regions * chosen);
      for (Index i = 0; i < places.size(); ++i)
        places.data()[i] = std::int32_t(i / chosen % regions * regions) + best.indices.data()[i];
      const auto all = related(q, keys_of(kv));
      const auto taken = gather(device, view(all).merge(1).split(1, 1), places);
      const auto r = softmax(device, view(taken).merge(1).split(1, chosen));
      return with(r);
    };
    if (options.kv_downsample == RegionPool::kIdentity) return attend_to(kv);
    const auto pooled = pool(device, kv.merge(0).split(1, rw).permute({0, 3, 1, 2}));
    const auto tokens = contiguous(device, view(pooled).permute({0, 2, 3, 1}));
    return attend_to(view(tokens).merge(1).split(0, regions));
  }

  template <class D, class X>
  auto pool(const D& device, const X& maps) const {
    const Index ratio = options.kv_downsample_ratio, side = options.kv_per_win;
    const PoolOptions windows{.kernel = {ratio, ratio}};
    switch (options.kv_downsample) {
      case RegionPool::kAverage:
        return average_pool(device, maps, windows);
      case RegionPool::kMax:
        return max_pool(device, maps, windows);
      case RegionPool::kAdaptiveAverage:
        return adaptive_average_pool(device, maps, {side, side});
      default:
        return adaptive_max_pool(device, maps, {side, side});
    }
  }

  Index qk_dim(Index channels) const { return options.qk_dim > 0 ? options.qk_dim : channels; }
  void check(const std::array<Index, 4>& x) const {
    const Index channels = x[3], qk = qk_dim(channels), n = options.n_win, kernel = options.kernel_size;
    require(n > 0 && options.top_k > 0, kName, "n_win and top_k must be 1 or more, got ", n, " and ", options.top_k);
    require(x[1] > 0 && x[2] > 0 && (options.auto_pad || (x[1] % n == 0 && x[2] % n == 0)), kName, "n_win = ", n,
            " must divide a map of shape ", shape_text(x), ", unless auto_pad");
    require(options.num_heads > 0 && channels % options.num_heads == 0 && qk % options.num_heads == 0, kName,
            "C = ", channels, " and qk_dim = ", qk, " must be multiples of num_heads = ", options.num_heads);
    check_linear(kName, "qkv", qkv, channels, 2 * qk + channels);
    if (options.out_proj) check_linear(kName, "out", out, channels, channels);
    if (options.param_routing) check_linear(kName, "router", router, qk, qk);
    require(kernel >= 0 && (kernel == 0 || kernel % 2 == 1), kName, "kernel_size must be odd or 0, got ", kernel);
    if (kernel > 0)
      require_shape(kName, "lepe.weight", const_view(lepe.weight).sizes,
                    std::array<Index, 4>{channels, 1, kernel, kernel});
  }
};

}  // namespace heed::inline HEED_ISA
