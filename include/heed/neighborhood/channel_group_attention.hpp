// SPDX-License-Identifier: Apache-2.0
// channel_group_attention: attention between the channels of a group, all positions being their features.
#pragma once

#include <optional>

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = [q softmax(scale * k^T v)^T of each group] out.weight^T + out.bias, softmax along each row.
///
///   heed::ChannelGroupAttention<float> attend{{.groups = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C); qkv.weight (3 C, C), qkv.bias (3 C) or empty, out.weight (C, C), out.bias (C) or empty; q, k
/// and v of a group are (N, D), D = C / groups. The paper's Q is the authors' k, its K their v and its V their q: the
/// names here are those of the code. The sum over N is not normalised, so that scores grow with the image; a later
/// version of the authors has scale = 1 / sqrt(N). Throws heed::Error, before anything is written, for shapes and
/// options that do not fit. Time O(B N C^2 / groups) beside the projections, memory O(C^2 / groups): linear in N. The
/// same bits for any number of threads.
/// Source: Ding et al., DaViT, ECCV 2022, eq. 4; the authors' ChannelAttention.
template <Real T>
struct ChannelGroupAttention {
  struct Options {
    Index groups = 1;                            ///< divides C; DaViT: C / 32
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(C / groups)
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return attend_by(options, device, x);
  }
  /// The same under other options, for an operator that this one is a part of.
  template <Device D, Operand X>
  auto attend_by(const Options& o, const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::ChannelGroupAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    check(o, sizes[2]);
    const Index width = sizes[2] / o.groups;
    const auto packed = qkv(device, x);
    // Part 0, 1 or 2 of the packed channels as (B, groups, N, D).
    const auto part = [&](int which) {
      return view(packed).slice(2, which * sizes[2], sizes[2]).split(2, width).permute({0, 2, 1, 3});
    };
    const auto products = matmul(device, part(1).permute({0, 1, 3, 2}), part(2));
    const auto weights = softmax(device, scale(device, products, o.scale.value_or(1 / std::sqrt(double(width)))));
    const auto mixed = matmul(device, part(0), view(weights).permute({0, 1, 3, 2}));
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

 private:
  static constexpr std::string_view kName = "channel_group_attention";

  void check(const Options& o, Index channels) const {
    require(o.groups > 0 && channels > 0 && channels % o.groups == 0, kName, "the channels of x, ", channels,
            ", must be a multiple of groups, ", o.groups);
    require(!o.scale || std::isfinite(*o.scale), kName, "the scale must be finite, got ", o.scale.value_or(0));
    check_linear(kName, "qkv", qkv, channels, 3 * channels);
    check_linear(kName, "out", out, channels, channels);
  }
};

}  // namespace heed::inline HEED_ISA
