// SPDX-License-Identifier: Apache-2.0
// global_context: one attention-pooled vector, transformed and added to every position.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/group_norm.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = x * sigmoid(t_mul(c)) + t_add(c), each part only if its fusion is on; c = sum over all positions of p x with
/// p = softmax over them of mask . x + mask.bias, or the mean of x; t(c) = fc2(relu(LN(fc1(c)))).
///
/// x (B, C, h, w), out as x; mask.weight (C), mask.bias (1) or empty, when pooling by attention; for each fusion that
/// is on, {add,mul}.fc1.weight (P, C), .fc1.bias (P), .ln.{weight,bias} (P), .fc2.weight (C, P), .fc2.bias (C). P
/// follows from the shapes (the paper: C / 16) and must not be 0. Throws heed::Error for shapes that do not fit and a
/// map without positions. Reads x three times and writes it once; O(B C P) beside that. The same bits for any number of
/// threads. Source: Cao et al. 2019.
template <Real T>
struct GlobalContext {
  enum class Pooling { kAttention, kMean };
  struct Options {
    Pooling pooling = Pooling::kAttention;
    bool channel_add = true;
    bool channel_mul = false;
  };
  /// t(c) = fc2(relu(LN(fc1(c)))).
  struct Transform {
    Linear<T> fc1 = {};
    LayerNorm<T> ln = {};
    Linear<T> fc2 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "fc1.", fc1, "ln.", ln, "fc2.", fc2);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, const X& c) const {
      const auto hidden = conv_channels(device, c, fc1.weight, fc1.bias);
      const auto normal = layer_norm_channels(device, hidden, ln.weight, ln.bias, ln.eps);
      const auto active = relu(device, normal);
      return conv_channels(device, active, fc2.weight, fc2.bias);
    }
  };

  Options options = {};
  Tensor<T, 1> mask_weight = {};
  Tensor<T, 1> mask_bias = {};
  Transform add = {}, mul = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("mask.weight", mask_weight, heed::optional);
    f("mask.bias", mask_bias, heed::optional);
    visit_part("add.", add, f, heed::optional);
    visit_part("mul.", mul, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    if (options.channel_add) check("add", add, sizes_of(x)[1]);
    if (options.channel_mul) check("mul", mul, sizes_of(x)[1]);
    const auto c = context(device, x);
    if (!options.channel_mul && !options.channel_add) return contiguous(device, x);
    if (!options.channel_mul) {
      const auto shift = add(device, c);
      return heed::add(device, x, shift);
    }
    const auto logits = mul(device, c);
    const auto factor = sigmoid(device, logits);
    if (!options.channel_add) return multiply(device, x, factor);
    const auto shift = add(device, c);
    return multiply_add(device, x, factor, shift);
  }

 private:
  static constexpr std::string_view kName = "global_context";

  static void check(std::string_view name, const Transform& t, Index channels) {
    require_parameter(kName, std::string(name) + ".fc1.weight", t.fc1.weight, {-1, channels});
    require_parameter(kName, std::string(name) + ".fc2.weight", t.fc2.weight, {channels, t.fc1.weight.dimension(0)});
  }

  template <Device D, Operand X>
  auto context(const D& device, const X& x) const {
    if (options.pooling == Pooling::kMean) return mean(device, x, {2, 3});
    const auto sizes = sizes_of(x);
    require_parameter(kName, "mask.weight", mask_weight, {sizes[1]});
    const auto scores = conv_channels(device, x, const_view(mask_weight).split(0, sizes[1]), mask_bias);
    const auto weights = softmax(device, view(scores).template reshape<2>({sizes[0], sizes[2] * sizes[3]}));
    return pointwise_sum(ProductOf(), device, {2, 3}, x,
                         view(weights).template reshape<4>({sizes[0], 1, sizes[2], sizes[3]}));
  }
};

}  // namespace heed::inline HEED_ISA
