// SPDX-License-Identifier: Apache-2.0
// separable_self_attention: one score for each token, one context vector, handed out by multiplication.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = out(relu(v(x)) * c), c = the sum over the patches n of s_n k(u_n), s = the softmax over the patches of
/// q.weight . u + q.bias; u is the context if one is given, else x. All maps are 1x1 convolutions.
///
///   heed::SeparableSelfAttention<float> attend;
///   auto y = attend(x);                                     // or attend(device, x, context)
///
/// x (B, C, P, N), the P pixels of N patches, each pixel apart; context (B, C, P, M); out as x. q.weight (C), q.bias
/// (1), k.weight, v.weight and out.weight (C, C) with biases (C); all biases optional. q.bias has no effect. Since s
/// sums to 1, k is applied to the sum of s u. Throws heed::Error for shapes that do not fit and for no patches. Time
/// O(B P N C^2). The same bits for any number of threads.
/// Source: Mehta and Rastegari 2022 (MobileViTv2), section 3.2; its cross form as the authors' code means it.
template <Real T>
struct SeparableSelfAttention {
  Tensor<T, 1> q_weight = {};
  Tensor<T, 1> q_bias = {};
  ConvChannels<T> k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q_weight);
    f("q.bias", q_bias, heed::optional);
    visit_parts(f, "k.", k, "v.", v, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return run(DeviceRef(), view(x), view(x));
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return run(device, view(x), view(x));
  }
  template <Operand X, Operand U>
  auto operator()(const X& x, const U& context) const {
    return run(DeviceRef(), parameter_with(x, context), parameter_with(context, x));
  }
  template <Device D, Operand X, Operand U>
  auto operator()(const D& device, const X& x, const U& context) const {
    return run(device, parameter_with(x, context), parameter_with(context, x));
  }

 private:
  static constexpr std::string_view kName = "separable_self_attention";

  template <Device D, Operand X, Operand U>
  auto run(const D& device, const X& x, const U& u) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x), given = sizes_of(u);
    const Index channels = sizes[1];
    require(given[0] == sizes[0] && given[1] == channels && given[2] == sizes[2] && given[3] > 0, kName,
            "context must have shape (B, C, P, M) = (", sizes[0], ", ", channels, ", ", sizes[2],
            ", M) with M from 1, got ", shape_text(given));
    require_parameter(kName, "q.weight", q_weight, {channels});
    for (const auto& [name, layer] :
         {std::pair("k.weight", &k), std::pair("v.weight", &v), std::pair("out.weight", &out)})
      require_parameter(kName, name, layer->weight, {channels, channels});
    const auto scores = conv_channels(device, u, const_view(q_weight).split(0, channels), q_bias);
    const auto weights = softmax(device, scores);  // (B, 1, P, M)
    const auto pooled = pointwise_sum(ProductOf(), device, {3}, u, weights);
    const auto context = k(device, pooled);  // (B, C, P, 1)
    const auto values = relu(device, v(device, x));
    return out(device, multiply(device, values, context));
  }
};

}  // namespace heed::inline HEED_ISA
