// SPDX-License-Identifier: Apache-2.0
// pyramid_squeeze_attention: four convolutions, each channel of which weighs against its like in the others.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = the channels of a_3 f_3, a_2 f_2, a_1 f_1 and a_0 f_0, in this order; f_i = conv_i(x), z_i = sigmoid(fc2(relu(
/// fc1(mean of each channel of f_i)))) with one network for all, a = softmax of z over i for each channel.
///
/// x (B, Ci, h, w), out (B, 4 S, h', w'); conv{i}.weight (S, Ci / groups_i, k_i, k_i) with odd k_i, no bias, and the
/// padding that keeps the size; fc1.weight (S / reduction, S), fc1.bias, fc2.weight (S, S / reduction), fc2.bias.
/// Kernels (the paper: 3, 5, 7, 9), groups (1, 4, 8, 16) and the reduction (16, at most S) follow from the shapes.
/// Throws heed::Error for shapes and options that do not fit and a map without positions. Cost of the convolutions. The
/// same bits for any number of threads. Source: Zhang et al. 2021; the reverse order and the softmax
/// of a sigmoid are the authors' code.
template <Real T>
struct PyramidSqueezeAttention {
  struct Options {
    Index stride = 1;
  };

  Options options = {};
  std::array<Conv2d<T>, 4> conv = {};
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("conv0.weight", conv[0].weight);
    f("conv1.weight", conv[1].weight);
    f("conv2.weight", conv[2].weight);
    f("conv3.weight", conv[3].weight);
    visit_parts(f, "fc1.", fc1, "fc2.", fc2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const Index channels = conv[0].weight.dimension(0);
    require_parameter(kName, "fc1.weight", fc1.weight, {-1, channels});
    require_parameter(kName, "fc2.weight", fc2.weight, {channels, fc1.weight.dimension(0)});
    const auto f0 = features(device, x, 0);
    const auto f1 = features(device, x, 1);
    const auto f2 = features(device, x, 2);
    const auto f3 = features(device, x, 3);
    const auto squeezed =
        concat<3>(device, weight(device, f0), weight(device, f1), weight(device, f2), weight(device, f3));
    const auto a = softmax(device, squeezed);  // (B, S, 1, 4)
    const auto of = [&](Index i) { return view(a).slice(3, i, 1); };
    return concat<1>(device, multiply(device, f3, of(3)), multiply(device, f2, of(2)), multiply(device, f1, of(1)),
                     multiply(device, f0, of(0)));
  }

 private:
  static constexpr std::string_view kName = "pyramid_squeeze_attention";

  template <Device D, Operand X>
  auto features(const D& device, const X& x, std::size_t i) const {
    const auto& weight = conv[i].weight;
    const Index k = weight.dimension(2), inner = weight.dimension(1), channels = sizes_of(x)[1];
    require(weight.size() > 0 && weight.dimension(3) == k && k % 2 == 1 && channels % inner == 0 &&
                weight.dimension(0) == conv[0].weight.dimension(0),
            kName, "conv", i, ".weight must have shape (S, Ci / groups, k, k) with Ci = ", channels,
            ", odd k and S = ", conv[0].weight.dimension(0), ", got ", shape_text(const_view(weight).sizes));
    return conv_2d(device, x, weight, conv[i].bias, ConvOptions::same(k, channels / inner, options.stride));
  }
  template <Device D, Operand X>
  auto weight(const D& device, const X& f) const {
    const auto squeezed = mean(device, f, {2, 3});
    const auto logits = bottleneck(device, squeezed, fc1, fc2);
    return sigmoid(device, logits);
  }
};

}  // namespace heed::inline HEED_ISA
