// SPDX-License-Identifier: Apache-2.0
// semantic_guidance: a small encoder-decoder whose output guides attention.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/conv_2d.hpp"
#include "heed/block/conv_transpose_2d.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/max_pool.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// out = up1(dec1(up2(dec2(e2)))) and code = e2 in row-major order, batch included, e1 = pool(enc1(x)), e2 =
/// pool(enc2(e1)): each of enc1, enc2, dec2 and dec1 twice relu(BN(conv3x3)), pool the largest of 2 x 2, up a
/// transposed convolution of stride 2. What dec1 reads is resized to e1 where an odd size was rounded down, bilinearly.
///
/// x (B, D, h, w), out (B, D, 2 (h / 2), 2 (w / 2)), rounded down, code (B 4 D (h / 4) (w / 4)); widths of the layers
/// in, in between and out: D, 2 D, 2 D for enc1; 2 D, 4 D, 4 D for enc2; 4 D, 2 D, 2 D for dec2; 2 D, D, D for dec1, or
/// any that fit each other. {enc1,enc2,dec2,dec1}.conv{1,2}.{weight,bias}, .bn{1,2}.{weight,bias,mean,var},
/// {dec2,dec1}.up.weight (Ci, Co, 2, 2), {dec2,dec1}.up.bias. Throws heed::Error for shapes that do not fit and maps of
/// less than 4 rows or columns. Time O(B h w D^2). The same bits for any number of threads. Source: Sinha and Dolz
/// 2020, the authors' code.
template <Real T>
struct SemanticGuidance {
  /// Twice relu(BN(conv3x3)).
  struct Encoder {
    Conv2d<T> conv1 = {}, conv2 = {};
    BatchNorm<T> bn1 = {}, bn2 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "conv1.", conv1, "bn1.", bn1, "conv2.", conv2, "bn2.", bn2);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& x) const {
      const auto first = conv_2d(device, x, conv1.weight, conv1.bias, ConvOptions::same(3));
      const auto hidden = relu(device, bn1(device, first));
      const auto second = conv_2d(device, hidden, conv2.weight, conv2.bias, ConvOptions::same(3));
      return relu(device, bn2(device, second));
    }
  };
  struct Decoder {
    Encoder convs = {};
    ConvTranspose2d<T> up = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", convs, "up.", up);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& x) const {
      const auto y = convs(device, x);
      return conv_transpose_2d(device, y, up.weight, up.bias, ConvOptions{.stride = {2, 2}});
    }
  };
  template <class Out, class Code>
  struct Result {
    Out out;
    Code code;
  };

  Encoder enc1 = {}, enc2 = {};
  Decoder dec2 = {}, dec1 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "enc1.", enc1, "enc2.", enc2, "dec2.", dec2, "dec1.", dec1);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::SemanticGuidance: x is (B, D, h, w)");
    const auto sizes = sizes_of(x);
    require(sizes[2] >= 4 && sizes[3] >= 4, kName, "x must have 4 rows and columns or more, got shape ",
            shape_text(sizes));
    check(sizes[1]);
    const PoolOptions half{.kernel = {2, 2}};
    const auto e1 = max_pool(device, enc1(device, x), half);
    const auto e2 = max_pool(device, enc2(device, e1), half);
    auto code = contiguous(device, view(e2).template reshape<1>({element_count(sizes_of(e2))}));
    auto d2 = dec2(device, e2);
    const auto want = sizes_of(e1), got = sizes_of(d2);
    if (got[2] != want[2] || got[3] != want[3]) d2 = resize_bilinear(device, d2, {want[2], want[3]});
    auto out = dec1(device, d2);
    return Result<decltype(out), decltype(code)>{std::move(out), std::move(code)};
  }

 private:
  static constexpr std::string_view kName = "semantic_guidance";

  static Index element_count(const std::array<Index, 4>& sizes) { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }

  void check(Index channels) const {
    const auto chain = [&](std::string_view name, const Encoder& block) {
      require_parameter(kName, std::string(name) + ".conv1.weight", block.conv1.weight, {-1, channels, 3, 3});
      require_parameter(kName, std::string(name) + ".conv2.weight", block.conv2.weight,
                        {-1, block.conv1.weight.dimension(0), 3, 3});
      channels = block.conv2.weight.dimension(0);
    };
    const auto up = [&](std::string_view name, const Decoder& block) {
      chain(name, block.convs);
      require_parameter(kName, std::string(name) + ".up.weight", block.up.weight, {channels, -1, 2, 2});
      channels = block.up.weight.dimension(1);
    };
    chain("enc1", enc1);
    chain("enc2", enc2);
    up("dec2", dec2);
    up("dec1", dec1);
  }
};

}  // namespace heed::inline HEED_ISA
