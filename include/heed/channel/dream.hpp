// SPDX-License-Identifier: Apache-2.0
// dream: a dilated pyramid, weighed by the larger of a gate for each sample and a gate for each position.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// max(c u, s u) u of u that is not negative; a tie splits the gradient.
struct RefinedMap {
  static constexpr std::string_view kName = "dream";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> u, simd::Batch<T> c, simd::Batch<T> s) const {
    return simd::select(s > c, s, c) * u * u;
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> u, simd::Batch<T> c, simd::Batch<T> s) const {
    using Batch = simd::Batch<T>;
    if constexpr (Operand == 0) {
      return d * simd::select(s > c, s, c) * (u + u);
    } else {
      const Batch one(T(1)), none(T(0)), first = simd::select(c > s, one, simd::select(s > c, none, Batch(T(0.5))));
      return d * u * u * (Operand == 1 ? first : one - first);
    }
  }
};

}  // namespace detail

/// out = relu(BN(fuse(max(c U, s U) * U))); U = [f_0, .., f_4], f_0 = relu(BN(1x1 conv(x))), f_i = relu(BN(3x3
/// conv(x))) with dilation and padding 6, 12 and 18 times `rate`, f_4 = relu(BN(pool(mean of x))) at every position; c
/// = relu(channel . mean of U), one number for each sample, and s = sigmoid(spatial . U) for each position.
///
/// x (B, Ci, h, w), out (B, Co, h, w); or vectors (B, Ci), out (B, Co); or a sequence (B, S, Ci), out (B, Co, 1, S).
/// (The authors drop the last two axes of any map of one position.) branch0.weight (Co, Ci), branch{1,2,3}.weight (Co,
/// Ci, 3, 3), pool.weight (Co, Ci), fuse.weight (Co, 5 Co), their biases (Co) and .bn.{weight,bias,mean,var} (Co);
/// channel.weight and spatial.weight (5 Co). Throws heed::Error for shapes and options that do not fit and a map
/// without positions. Time O(B h w Co (28 Ci + 10 Co)). The same bits for any number of threads. Source: MambaRec 2025,
/// dilated refinement attention module.
template <Real T>
struct Dream {
  struct Options {
    Index rate = 1;  ///< 1 or more
  };

  Options options = {};
  ConvNorm<T, ConvChannels> branch0 = {};
  std::array<ConvNorm<T>, 3> branch = {};  ///< branch1 to branch3
  ConvNorm<T, ConvChannels> pool = {}, fuse = {};
  Tensor<T, 1> channel_weight = {}, spatial_weight = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("branch0.", branch0, f);
    for (std::size_t i = 0; i < 3; ++i) visit_part("branch" + std::to_string(i + 1) + ".", branch[i], f);
    visit_part("pool.", pool, f);
    f("channel.weight", channel_weight);
    f("spatial.weight", spatial_weight);
    visit_part("fuse.", fuse, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    constexpr int rank = kOperandRank<X>;
    static_assert(rank >= 2 && rank <= 4, "heed::Dream: x is (B, Ci, h, w), (B, S, Ci) or (B, Ci)");
    if constexpr (rank == 2) {
      const auto y = refine(device, view(x).split(1, 1).split(2, 1));
      return contiguous(device, view(y).select(3, 0).select(2, 0));
    } else if constexpr (rank == 3) {
      return refine(device, view(x).permute({0, 2, 1}).split(1, 1));
    } else {
      return refine(device, x);
    }
  }

 private:
  static constexpr std::string_view kName = "dream";

  template <Device D, Operand X>
  auto refine(const D& device, const X& x) const {
    require_map(kName, x);
    check(sizes_of(x)[1]);
    const auto dilated = [&](std::size_t i) {
      return branch[i].relu(device, x, ConvOptions::same(3, 1, 1, 6 * Index(i + 1) * options.rate));
    };
    const auto f0 = branch0.relu(device, x);
    const auto f1 = dilated(0), f2 = dilated(1), f3 = dilated(2);
    const auto f4 = pool.relu(device, mean(device, x, {2, 3}));
    const auto all = concat<1>(device, f0, f1, f2, f3, f4);
    const Tensor<T, 1> none;
    const Index channels = sizes_of(all)[1];
    const auto average = mean(device, all, {2, 3});
    const auto c = relu(device, conv_channels(device, average, const_view(channel_weight).split(0, channels), none));
    const auto s = sigmoid(device, conv_channels(device, all, const_view(spatial_weight).split(0, channels), none));
    return fuse.relu(device, pointwise(detail::RefinedMap(), device, all, c, s));
  }

  void check(Index channels) const {
    const Index outs = branch0.conv.weight.dimension(0);
    require(options.rate > 0, kName, "rate must be 1 or more, got ", options.rate);
    require_parameter(kName, "branch0.weight", branch0.conv.weight, {-1, channels});
    for (std::size_t i = 0; i < 3; ++i)
      require_parameter(kName, "branch" + std::to_string(i + 1) + ".weight", branch[i].conv.weight,
                        {outs, channels, 3, 3});
    require_parameter(kName, "pool.weight", pool.conv.weight, {outs, channels});
    require_parameter(kName, "channel.weight", channel_weight, {5 * outs});
    require_parameter(kName, "spatial.weight", spatial_weight, {5 * outs});
    require_parameter(kName, "fuse.weight", fuse.conv.weight, {outs, 5 * outs});
  }
};

}  // namespace heed::inline HEED_ISA
