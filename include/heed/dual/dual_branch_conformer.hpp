// SPDX-License-Identifier: Apache-2.0
// dual_branch_conformer: tokens in time and tokens over electrodes, each attending among themselves, then fused.
#pragma once

#include <string>
#include <vector>

#include "heed/block/batch_norm.hpp"
#include "heed/block/blend.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/conv_1d.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/reduce.hpp"
#include "heed/channel/attention_pool.hpp"
#include "heed/channel/eeg_transformer_block.hpp"

namespace heed {

/// How the two branches become one feature: side by side with the space tokens pooled by attention or by their mean, or
/// a learned blend of both means.
enum class BranchFusion { kAttention, kMean, kGate };

inline namespace HEED_ISA {

/// out = [mean of the time tokens, pooled space tokens] (B, 2 D), or with kGate g b + (1 - g) a (B, D), g = sigmoid(
/// gate([a, b])) of the means a and b.
///
///   heed::DualBranchConformer<float> conformer({.patch_size = 125, .num_time_layers = 2, .num_space_layers = 2});
///   auto feature = conformer(x);
///
/// x (B, E, T), E electrodes. Time: u = gelu(BN(depthwise conv1d(BN(mix x)))) of D channels, less its last sample with
/// drop_last, in P patches of patch_size samples of which the mean is a token; the rest is dropped. Space: of each
/// electrode alone s = elu(conv1d) of stride 5 and padding 12, its mean over time through fc is a token. To both, pos
/// is added where there is one, then EegTransformerBlocks.
///
/// time.mix.weight (D, E), time.mix_bn (D), time.conv.weight (D, 1, K) with odd K (63), time.conv_bn (D);
/// space.conv.weight (S, 1, 25), space.fc.weight (D, S), both with a bias; pos_time (P, D), pos_space (E, D), or empty;
/// time{i}.*, space{i}.* as EegTransformerBlock; pool.* as AttentionPool for kAttention; gate.weight (D, 2 D),
/// gate.bias for kGate. D is the paper's emb_size (40). Throws heed::Error for shapes and options that do not fit and
/// fewer samples than a patch. Time O(B (P^2 + E^2) D) a layer, beside the convolutions. The same bits for any number
/// of threads. Source: Wang et al. 2025 (DBConformer), the authors' code, its feature before the classifier.
template <Real T>
struct DualBranchConformer {
  struct Options {
    Index patch_size = 125;  ///< samples
    Index num_heads = 10;
    Index num_time_layers = 2;
    Index num_space_layers = 2;
    BranchFusion fusion = BranchFusion::kAttention;
    bool drop_last = true;
  };

  Options options;
  ConvChannels<T> time_mix = {};
  BatchNorm<T> time_mix_bn = {}, time_conv_bn = {};
  Conv1d<T> time_conv = {}, space_conv = {};
  Linear<T> space_fc = {};
  Tensor<T, 2> pos_time = {};                       ///< (P, D) or empty
  Tensor<T, 2> pos_space = {};                      ///< (E, D) or empty
  std::vector<EegTransformerBlock<T>> time, space;  ///< as many as layers
  AttentionPool<T> pool = {};                       ///< used by kAttention
  Linear<T> gate = {};                              ///< used by kGate

  explicit DualBranchConformer(const Options& o = {}) : options(o) {
    require(o.patch_size > 0 && o.num_time_layers >= 0 && o.num_space_layers >= 0, kName,
            "patch_size must be 1 or more, and numbers of layers 0 or more, got ", o.patch_size, ", ",
            o.num_time_layers, " and ", o.num_space_layers);
    time.resize(std::size_t(o.num_time_layers));
    space.resize(std::size_t(o.num_space_layers));
    for (auto* blocks : {&time, &space})
      for (auto& block : *blocks) block.options.num_heads = o.num_heads;
  }

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "time.mix.", time_mix, "time.mix_bn.", time_mix_bn);
    f("time.conv.weight", time_conv.weight);
    visit_parts(f, "time.conv_bn.", time_conv_bn, "space.conv.", space_conv, "space.fc.", space_fc);
    f("pos_time", pos_time, heed::optional);
    f("pos_space", pos_space, heed::optional);
    for (std::size_t i = 0; i < time.size(); ++i) visit_part("time" + std::to_string(i) + ".", time[i], f);
    for (std::size_t i = 0; i < space.size(); ++i) visit_part("space" + std::to_string(i) + ".", space[i], f);
    visit_part("pool.", pool, f, heed::optional);
    visit_part("gate.", gate, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x_like) const {
    static_assert(kOperandRank<X> == 3, "heed::DualBranchConformer: x is (B, E, T)");
    check(sizes_of(x_like));
    const auto x = contiguous(device, x_like);
    const auto in_time = refine(device, time, time_tokens(device, x));
    const auto in_space = refine(device, space, space_tokens(device, x));
    const auto a = mean_token(device, in_time);
    if (options.fusion == BranchFusion::kAttention) return concat<1>(device, a, pool(device, in_space).out);
    const auto b = mean_token(device, in_space);
    const auto both = concat<1>(device, a, b);
    if (options.fusion == BranchFusion::kMean) return both;
    return blend(device, sigmoid(device, gate(device, both)), b, a);
  }

 private:
  static constexpr std::string_view kName = "dual_branch_conformer";
  static constexpr Index kSpaceStride = 5, kSpacePadding = 12;

  Index samples(Index length) const { return options.drop_last ? length - 1 : length; }

  // (B, P, D).
  template <class D, class X>
  auto time_tokens(const D& device, const X& x) const {
    const Index channels = time_conv.weight.dimension(0), taps = time_conv.weight.dimension(2);
    const Index patches = samples(sizes_of(x)[2]) / options.patch_size;
    const auto mixed = time_mix_bn(device, time_mix(device, x));
    const auto filtered = conv_1d(device, mixed, time_conv.weight, time_conv.bias,
                                  Conv1dOptions{.padding = taps / 2, .groups = channels});
    const auto u = gelu(device, time_conv_bn(device, filtered));
    const auto whole = view(u).slice(2, 0, patches * options.patch_size).split(2, options.patch_size);
    const auto pooled = mean(device, whole, {3});
    const auto tokens = view(pooled).select(3, 0).permute({0, 2, 1});
    if (pos_time.size() == 0) return contiguous(device, tokens);
    return add(device, tokens, pos_time);
  }

  // (B, E, D).
  template <class D, class X>
  auto space_tokens(const D& device, const X& x) const {
    const auto sizes = sizes_of(x);
    const auto series = view(x).merge(0).split(0, 1);  // (B E, 1, T)
    const auto s = activate(device, Elu(),
                            conv_1d(device, series, space_conv.weight, space_conv.bias,
                                    Conv1dOptions{.stride = kSpaceStride, .padding = kSpacePadding}));
    const auto pooled = mean(device, s, {2});
    const auto flat = space_fc(device, view(pooled).select(2, 0));
    const auto tokens = view(flat).split(0, sizes[1]);
    if (pos_space.size() == 0) return contiguous(device, tokens);
    return add(device, tokens, pos_space);
  }

  template <class D, class X>
  static X refine(const D& device, const std::vector<EegTransformerBlock<T>>& blocks, X tokens) {
    for (const auto& block : blocks) tokens = block(device, tokens);
    return tokens;
  }

  template <class D, class X>
  static auto mean_token(const D& device, const X& tokens) {
    const auto pooled = mean(device, tokens, {1});
    return contiguous(device, view(pooled).select(1, 0));
  }

  void check(const std::array<Index, 3>& x) const {
    const Index channels = time_mix.weight.dimension(0), taps = time_conv.weight.dimension(2);
    require(x[1] > 0 && samples(x[2]) >= options.patch_size, kName, "x must have electrodes and a patch of ",
            options.patch_size, " samples or more, got shape ", shape_text(x));
    require_parameter(kName, "time.mix.weight", time_mix.weight, {-1, x[1]});
    require_parameter(kName, "time.conv.weight", time_conv.weight, {channels, 1, taps});
    require(taps % 2 == 1, kName, "time.conv.weight must have an odd kernel, got ", taps);
    require_parameter(kName, "space.conv.weight", space_conv.weight, {-1, 1, 2 * kSpacePadding + 1});
    check_linear(kName, "space.fc", space_fc, space_conv.weight.dimension(0), channels);
    if (pos_time.size() > 0)
      require_parameter(kName, "pos_time", pos_time, {samples(x[2]) / options.patch_size, channels});
    if (pos_space.size() > 0) require_parameter(kName, "pos_space", pos_space, {x[1], channels});
    if (options.fusion == BranchFusion::kGate) check_linear(kName, "gate", gate, 2 * channels, channels);
  }
};

}  // namespace HEED_ISA
}  // namespace heed
