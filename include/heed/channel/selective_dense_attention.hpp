// SPDX-License-Identifier: Apache-2.0
// selective_dense_attention: one level of a pyramid refined by all of them, chosen by channel and by position.
#pragma once

#include <vector>

#include "heed/block/max_pool.hpp"
#include "heed/block/softmax_axis.hpp"
#include "heed/channel/global_context.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// g * (a + b), added to a sum if there is one.
struct SelectedLevel {
  static constexpr std::string_view kName = "selective_dense_attention";
  template <Real T, class... B>
  simd::Batch<T> value(simd::Batch<T> g, simd::Batch<T> a, simd::Batch<T> b, B... sum) const {
    return ((g * (a + b)) + ... + sum);
  }
  template <int Operand, Real T, class... B>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> g, simd::Batch<T> a, simd::Batch<T> b, B...) const {
    if constexpr (Operand == 0) {
      return d * (a + b);
    } else if constexpr (Operand == 3) {
      return d;
    } else {
      return d * g;
    }
  }
};

}  // namespace detail

/// out = refine(sum over levels i of (a_i + b_i) g_i) + x_t: g_i is level i at the size of level t, by adaptive max
/// pooling for i < t and by nearest resizing for the others; S = sum of g_i; a = softmax over i of
/// head_i(relu(BN(fc(mean of S)))), for each channel; b = softmax over i of conv_i([mean, largest of the channels of
/// S]), for each position; refine is GlobalContext that adds, pooling by attention.
///
///   heed::SelectiveDenseAttention<float> sda{{.num_levels = 5, .level = 1}};
///   auto y = sda(levels);                                   // std::vector of maps, finest first
///
/// Level i (B, C, h_i, w_i), out (B, C, h_t, w_t); channel.fc.weight (d, C), channel.bn.{weight,bias,mean,var} (d),
/// channel.head{i}.{weight,bias} (C, d), (C); spatial.conv{i}.weight (1, 2, k, k) with odd k (the authors': 7 or 3);
/// refine.mask.weight (C), refine.mask.bias (1), refine.fc1.{weight,bias} (P, C), (P), refine.ln.{weight,bias} (P),
/// refine.fc2.{weight,bias} (C, P), (C). The paper has one instance, with parameters of its own, for each level. Throws
/// heed::Error for shapes and options that do not fit and for a map without positions. Time O(L B C h_t w_t) and that
/// of reading the levels. The same bits for any number of threads. Source: Wang et al. 2021 (SDANet).
template <Real T>
struct SelectiveDenseAttention {
  struct Options {
    Index num_levels = 5;
    Index level = 0;  ///< t, 0 .. num_levels - 1
  };

  Options options;
  Linear<T> channel_fc = {};
  BatchNorm<T> channel_bn = {};
  std::vector<Linear<T>> channel_head;  ///< one for each level
  std::vector<Conv2d<T>> spatial_conv;  ///< one for each level
  GlobalContext<T> refine = {};

  explicit SelectiveDenseAttention(const Options& o = {}) : options(o) {
    require(o.num_levels > 0 && o.level >= 0 && o.level < o.num_levels, kName,
            "level must be in 0 .. num_levels - 1 = ", o.num_levels - 1, ", got ", o.level);
    channel_head.resize(std::size_t(o.num_levels));
    spatial_conv.resize(std::size_t(o.num_levels));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "channel.fc.", channel_fc, "channel.bn.", channel_bn);
    for (std::size_t i = 0; i < channel_head.size(); ++i)
      visit_part("channel.head" + std::to_string(i) + ".", channel_head[i], f);
    for (std::size_t i = 0; i < spatial_conv.size(); ++i)
      f("spatial.conv" + std::to_string(i) + ".weight", spatial_conv[i].weight);
    f("refine.mask.weight", refine.mask_weight);
    f("refine.mask.bias", refine.mask_bias, heed::optional);
    visit_part("refine.", refine.add, f);
  }

  template <Operand X>
  auto operator()(const std::vector<X>& levels) const {
    return (*this)(DeviceRef(), levels);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const std::vector<X>& levels) const {
    check(levels);
    const X& own = levels[std::size_t(options.level)];
    const std::array<Index, 2> size{sizes_of(own)[2], sizes_of(own)[3]};
    using Map = decltype(resize_nearest(device, own, size));
    std::vector<Map> maps;
    for (std::size_t i = 0; i < levels.size(); ++i)
      maps.push_back(Index(i) < options.level ? adaptive_max_pool(device, levels[i], size)
                                              : resize_nearest(device, levels[i], size));
    Map total = maps[0];
    for (std::size_t i = 1; i < maps.size(); ++i) total = add(device, total, maps[i]);

    const auto by_channel = channel_weights(device, total);    // (B, C, 1, L)
    const auto by_position = position_weights(device, total);  // (B, L, h, w)
    const auto a = [&](std::size_t i) { return view(by_channel).slice(3, Index(i), 1); };
    const auto b = [&](std::size_t i) { return view(by_position).slice(1, Index(i), 1); };
    Map sum = pointwise(detail::SelectedLevel(), device, maps[0], a(0), b(0));
    for (std::size_t i = 1; i < maps.size(); ++i)
      sum = pointwise(detail::SelectedLevel(), device, maps[i], a(i), b(i), sum);
    return add(device, refine(device, sum), own);
  }

 private:
  static constexpr std::string_view kName = "selective_dense_attention";

  template <Device D, Operand X>
  auto channel_weights(const D& device, const X& total) const {
    const auto hidden = conv_channels(device, mean(device, total, {2, 3}), channel_fc.weight, channel_fc.bias);
    const auto z = relu(device, channel_bn(device, hidden));
    auto logits = conv_channels(device, z, channel_head[0].weight, channel_head[0].bias);
    for (std::size_t i = 1; i < channel_head.size(); ++i)
      logits = concat<3>(device, logits, conv_channels(device, z, channel_head[i].weight, channel_head[i].bias));
    return softmax(device, logits);
  }
  template <Device D, Operand X>
  auto position_weights(const D& device, const X& total) const {
    const auto both = concat<1>(device, mean(device, total, {1}), max(device, total, {1}));
    const auto of = [&](const Conv2d<T>& conv) {
      return conv_2d(device, both, conv.weight, conv.bias, ConvOptions::same(conv.weight.dimension(2)));
    };
    auto logits = of(spatial_conv[0]);
    for (std::size_t i = 1; i < spatial_conv.size(); ++i) logits = concat<1>(device, logits, of(spatial_conv[i]));
    return softmax<1>(device, logits);
  }

  template <Operand X>
  void check(const std::vector<X>& levels) const {
    require(Index(levels.size()) == options.num_levels && channel_head.size() == levels.size() &&
                spatial_conv.size() == levels.size(),
            kName, "there must be num_levels = ", options.num_levels, " levels, got ", levels.size());
    const auto own = sizes_of(levels[std::size_t(options.level)]);
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const std::string number = std::to_string(i);
      require_map(kName, levels[i]);
      require(sizes_of(levels[i])[0] == own[0] && sizes_of(levels[i])[1] == own[1], kName, "level ", i,
              " must have B = ", own[0], " and C = ", own[1], ", got ", shape_text(sizes_of(levels[i])));
      require_parameter(kName, "channel.head" + number + ".weight", channel_head[i].weight,
                        {own[1], channel_fc.weight.dimension(0)});
      const Index k = spatial_conv[i].weight.dimension(2);
      require_parameter(kName, "spatial.conv" + number + ".weight", spatial_conv[i].weight, {1, 2, k, k});
      require(k % 2 == 1, kName, "spatial.conv", i, ".weight must have an odd kernel, got ", k);
    }
    require_parameter(kName, "channel.fc.weight", channel_fc.weight, {-1, own[1]});
  }
};

}  // namespace heed::inline HEED_ISA
