// SPDX-License-Identifier: Apache-2.0
// multi_level_feature_distribution: every level takes a share of every level.
#pragma once

#include <string>

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/conv_transpose_2d.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// f_i_out = the channels of c_i0, c_i1 and c_i2, c_ij = silu(BN(conv{i}{j}(f_j))): a 1x1 convolution of the level
/// itself, a transposed one of kernel and stride 2^(j - i) of a smaller level, a 3x3 one of stride 2^(i - j) of a
/// larger.
///
/// f0 (B, C_0, h, w), f1 (B, C_1, h / 2, w / 2), f2 (B, C_2, h / 4, w / 4), h and w divisible by 4; the paper: 4 n, 8 n
/// and 16 n channels with n = 16, going out as they came in. conv{i}{j}.weight (share, C_j) for i = j, (C_j, share,
/// 2^(j
/// - i), 2^(j - i)) for j > i, (share, C_j, 3, 3) for j < i, no bias, and conv{i}{j}.bn.{weight,bias,mean,var} (share);
/// the shares follow from the shapes (the paper: 2 n, n, n; 2 n, 4 n, 2 n; 4 n, 4 n, 8 n). Throws heed::Error for
/// shapes that do not fit. Time of nine convolutions. The same bits for any number of threads. Source: QTSeg 2024, the
/// authors' code.
template <Real T>
struct MultiLevelFeatureDistribution {
  template <class Map>
  struct Result {
    Map f0, f1, f2;
  };

  std::array<ConvNorm<T, ConvChannels>, 3> same = {};   ///< conv00, conv11, conv22
  std::array<ConvNorm<T, ConvTranspose2d>, 3> up = {};  ///< conv01, conv02, conv12
  std::array<ConvNorm<T>, 3> down = {};                 ///< conv10, conv20, conv21

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j) {
        const std::string prefix = "conv" + std::to_string(i) + std::to_string(j) + ".";
        if (i == j) {
          visit_part(prefix, same[i], f);
        } else if (j > i) {
          visit_part(prefix, up[i + j - 1], f);
        } else {
          visit_part(prefix, down[i + j - 1], f);
        }
      }
  }

  template <Operand A, Operand B, Operand C>
  auto operator()(const A& f0, const B& f1, const C& f2) const {
    return (*this)(DeviceRef(), f0, f1, f2);
  }
  template <Device D, Operand A, Operand B, Operand C>
  auto operator()(const D& device, const A& f0_like, const B& f1_like, const C& f2_like) const {
    static_assert(kOperandRank<A> == 4 && kOperandRank<B> == 4 && kOperandRank<C> == 4,
                  "heed::MultiLevelFeatureDistribution: levels are (B, C, h, w)");
    check(sizes_of(f0_like), sizes_of(f1_like), sizes_of(f2_like));
    const auto f0 = parameter_with(f0_like, f1_like, f2_like);
    const auto f1 = parameter_with(f1_like, f0);
    const auto f2 = parameter_with(f2_like, f0);
    const auto own = [&](std::size_t i, const auto& f) { return silu(device, same[i](device, f)); };
    auto out0 = concat<1>(device, own(0, f0), enlarge(device, f1, 0, 2), enlarge(device, f2, 1, 4));
    auto out1 = concat<1>(device, reduce(device, f0, 0, 2), own(1, f1), enlarge(device, f2, 2, 2));
    auto out2 = concat<1>(device, reduce(device, f0, 1, 4), reduce(device, f1, 2, 2), own(2, f2));
    return Result<decltype(out0)>{std::move(out0), std::move(out1), std::move(out2)};
  }

 private:
  static constexpr std::string_view kName = "multi_level_feature_distribution";

  template <class D, class X>
  auto enlarge(const D& device, const X& f, std::size_t at, Index factor) const {
    const auto larger =
        conv_transpose_2d(device, f, up[at].conv.weight, up[at].conv.bias, ConvOptions{.stride = {factor, factor}});
    return silu(device, up[at].bn(device, larger));
  }
  template <class D, class X>
  auto reduce(const D& device, const X& f, std::size_t at, Index stride) const {
    const auto smaller = conv_2d(device, f, down[at].conv.weight, down[at].conv.bias, ConvOptions::same(3, 1, stride));
    return silu(device, down[at].bn(device, smaller));
  }

  void check(const std::array<Index, 4>& f0, const std::array<Index, 4>& f1, const std::array<Index, 4>& f2) const {
    require(f0[2] > 0 && f0[3] > 0 && f0[2] % 4 == 0 && f0[3] % 4 == 0, kName,
            "f0 must have rows and columns divisible by 4, got shape ", shape_text(f0));
    require_shape(kName, "f1", f1, std::array<Index, 4>{f0[0], f1[1], f0[2] / 2, f0[3] / 2});
    require_shape(kName, "f2", f2, std::array<Index, 4>{f0[0], f2[1], f0[2] / 4, f0[3] / 4});
    const Index channels[] = {f0[1], f1[1], f2[1]};
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j) {
        const std::string name = "conv" + std::to_string(i) + std::to_string(j) + ".weight";
        if (i == j) {
          require_parameter(kName, name, same[i].conv.weight, {-1, channels[j]});
        } else if (j > i) {
          const Index k = Index(1) << (j - i);
          require_parameter(kName, name, up[i + j - 1].conv.weight, {channels[j], -1, k, k});
        } else {
          require_parameter(kName, name, down[i + j - 1].conv.weight, {-1, channels[j], 3, 3});
        }
      }
  }
};

}  // namespace heed::inline HEED_ISA
