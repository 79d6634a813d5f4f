// SPDX-License-Identifier: Apache-2.0
// aspp: atrous spatial pyramid pooling, four dilations and a global branch.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = relu(BN(fuse([f_0, .., f_4]))): f_0 = relu(BN(1x1 conv(x))), f_i = relu(BN(3x3 conv(x))) with dilation and
/// padding dilations[i], and f_4 = relu(BN(pool(mean of each channel))) at every position.
///
/// x (B, Ci, h, w), out (B, Co, h, w); branch0.weight (Co, Ci, 1, 1), branch{i}.weight (Co, Ci, 3, 3), pool.weight
/// (Co, Ci), fuse.weight (Co, 5 Co), each with .bn.{weight,bias,mean,var} (Co) and no bias. On small maps the far taps
/// see only padding. Throws heed::Error for shapes that do not fit and a map without positions. Time
/// O(28 B h w Ci Co). The same bits for any number of threads.
/// Source: Chen et al. 2017 (DeepLab v3), as in M-SFANet, Thanasutives et al. 2020.
template <Real T>
struct Aspp {
  struct Options {
    std::array<Index, 4> dilations{1, 6, 12, 18};  ///< 1 or more; the first has no effect
  };

  Options options = {};
  std::array<ConvNorm<T>, 4> branch = {};
  ConvNorm<T, ConvChannels> pool = {}, fuse = {};

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < 4; ++i) visit_part("branch" + std::to_string(i) + ".", branch[i], f);
    visit_parts(f, "pool.", pool, "fuse.", fuse);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = sizes_of(x)[1], outs = pool.conv.weight.dimension(0);
    for (std::size_t i = 0; i < 4; ++i) {
      const Index k = i == 0 ? 1 : 3;
      require_parameter(kName, "branch" + std::to_string(i) + ".weight", branch[i].conv.weight, {outs, channels, k, k});
    }
    require_parameter(kName, "pool.weight", pool.conv.weight, {-1, channels});
    require_parameter(kName, "fuse.weight", fuse.conv.weight, {-1, 5 * outs});
    const auto dilated = [&](std::size_t i) {
      return branch[i].relu(device, x, ConvOptions::same(i == 0 ? 1 : 3, 1, 1, options.dilations[i]));
    };
    const auto f0 = dilated(0);
    const auto f1 = dilated(1);
    const auto f2 = dilated(2);
    const auto f3 = dilated(3);
    const auto f4 = pool.relu(device, mean(device, x, {2, 3}));
    return fuse.relu(device, concat<1>(device, f0, f1, f2, f3, f4));
  }

 private:
  static constexpr std::string_view kName = "aspp";
};

}  // namespace heed::inline HEED_ISA
