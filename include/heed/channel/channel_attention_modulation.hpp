// SPDX-License-Identifier: Apache-2.0
// channel_attention_modulation: two modalities, each given the other through a channel gate, and refined.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_norm.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// x1_out = x1 + R_1(x1 + x2 s_2) and x2_out = x2 + R_2(x2 + x1 s_1): u = a 1x1 convolution of [x1, x2], s_j =
/// sigmoid(m_j(mean of u) + m_j(largest of u)) for each channel with m_j(z) = fc2(relu(fc1(z))), and R_j(t) = t +
/// conv3(relu(BN3(conv2(relu(BN2(conv1(relu(BN1(t)))))))). Each is given the other through the other's gate.
///
/// x1 and x2 (B, C, h, w), both results as they; conv.{weight,bias} (C, 2 C), (C); for j of 1 and 2 gate{j}.fc1.weight
/// (R, C), gate{j}.fc2.weight (C, R), res{j}.bn1 (C), res{j}.conv1.weight (I, C), res{j}.bn2 (I), res{j}.conv2.weight
/// (I, I, 3, 3), res{j}.bn3 (I), res{j}.conv3.weight (C, I), convolutions with biases or without. R (the authors': C /
/// 16) and I (C / 2, rounded down) follow from the shapes. Throws heed::Error for shapes that do not fit and a map
/// without positions. Time O(B h w C^2). The same bits for any number of threads.
/// Source: Yu et al. 2022 (FE-LSD), shallow fusion by channel attention.
template <Real T>
struct ChannelAttentionModulation {
  struct Gate {
    Linear<T> fc1 = {}, fc2 = {};
  };
  /// R(t), a residual bottleneck whose norms come first.
  struct Residual {
    BatchNorm<T> bn1 = {}, bn2 = {}, bn3 = {};
    ConvChannels<T> conv1 = {}, conv3 = {};
    Conv2d<T> conv2 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "bn1.", bn1, "conv1.", conv1, "bn2.", bn2, "conv2.", conv2, "bn3.", bn3, "conv3.", conv3);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& t) const {
      const auto narrow = conv1(device, relu(device, bn1(device, t)));
      const auto mixed = relu(device, bn2(device, narrow));
      const auto wide = conv_2d(device, mixed, conv2.weight, conv2.bias, ConvOptions::same(3));
      return add(device, t, conv3(device, relu(device, bn3(device, wide))));
    }
  };
  template <class X1, class X2>
  struct Result {
    X1 x1_out;
    X2 x2_out;
  };

  ConvChannels<T> conv = {};
  std::array<Gate, 2> gate = {};
  std::array<Residual, 2> res = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("conv.", conv, f);
    for (std::size_t j = 0; j < 2; ++j) {
      const std::string number = std::to_string(j + 1) + ".";
      visit_part("gate" + number + "fc1.", gate[j].fc1, f);
      visit_part("gate" + number + "fc2.", gate[j].fc2, f);
      visit_part("res" + number, res[j], f);
    }
  }

  template <Operand X1, Operand X2>
  auto operator()(const X1& x1, const X2& x2) const {
    return (*this)(DeviceRef(), x1, x2);
  }
  template <Device D, Operand X1, Operand X2>
  auto operator()(const D& device, const X1& x1_given, const X2& x2_given) const {
    const auto x1 = parameter_with(x1_given, x2_given);
    const auto x2 = parameter_with(x2_given, x1_given);
    require_map(kName, x1);
    require_shape(kName, "x2", sizes_of(x2), sizes_of(x1));
    check(sizes_of(x1)[1]);
    const auto both = conv(device, concat<1>(device, x1, x2));
    const auto average = mean(device, both, {2, 3}), most = max(device, both, {2, 3});
    const auto factor = [&](const Gate& of) {
      return sigmoid(
          device, add(device, bottleneck(device, average, of.fc1, of.fc2), bottleneck(device, most, of.fc1, of.fc2)));
    };
    const auto given1 = multiply_add(device, x2, factor(gate[1]), x1);
    const auto given2 = multiply_add(device, x1, factor(gate[0]), x2);
    auto first = add(device, x1, res[0](device, given1));
    auto second = add(device, x2, res[1](device, given2));
    return Result<decltype(first), decltype(second)>{std::move(first), std::move(second)};
  }

 private:
  static constexpr std::string_view kName = "channel_attention_modulation";

  void check(Index channels) const {
    require_parameter(kName, "conv.weight", conv.weight, {channels, 2 * channels});
    for (std::size_t j = 0; j < 2; ++j) {
      const std::string number = std::to_string(j + 1);
      const Index hidden = gate[j].fc1.weight.dimension(0), inner = res[j].conv1.weight.dimension(0);
      require_parameter(kName, "gate" + number + ".fc1.weight", gate[j].fc1.weight, {-1, channels});
      require_parameter(kName, "gate" + number + ".fc2.weight", gate[j].fc2.weight, {channels, hidden});
      require_parameter(kName, "res" + number + ".conv1.weight", res[j].conv1.weight, {-1, channels});
      require_parameter(kName, "res" + number + ".conv2.weight", res[j].conv2.weight, {inner, inner, 3, 3});
      require_parameter(kName, "res" + number + ".conv3.weight", res[j].conv3.weight, {channels, inner});
    }
  }
};

}  // namespace heed::inline HEED_ISA
