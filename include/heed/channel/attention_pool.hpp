// SPDX-License-Identifier: Apache-2.0
// attention_pool: a softmax-weighted mean of tokens, scored by a small network.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = sum over n of weights(n) x_n, weights = softmax over n of fc2 . tanh(fc1(x_n)) + fc2.bias.
///
/// x (B, N, C), out (B, C), weights (B, N); fc1.weight (A, C), fc1.bias (A), fc2.weight (A), fc2.bias (1) or empty (it
/// has no effect). One token gives itself. Throws heed::Error for shapes that do not fit and for no tokens. Time O(B N
/// C A). The same bits for any number of threads. Source: Wang et al. 2025 (DBConformer), the pooling of its spatial
/// branch; MambaRec fuses two modalities by it.
template <Real T>
struct AttentionPool {
  template <class Out, class Weights>
  struct Result {
    Out out;
    Weights weights;
  };

  Linear<T> fc1 = {};
  Tensor<T, 1> fc2_weight = {};
  Tensor<T, 1> fc2_bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("fc1.", fc1, f);
    f("fc2.weight", fc2_weight);
    f("fc2.bias", fc2_bias, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::AttentionPool: x is (B, N, C)");
    const Index width = fc1.weight.dimension(0);
    require(sizes_of(x)[1] > 0, kName, "x must have tokens, got shape ", shape_text(sizes_of(x)));
    require_parameter(kName, "fc1.weight", fc1.weight, {-1, sizes_of(x)[2]});
    require_parameter(kName, "fc2.weight", fc2_weight, {width});
    const auto hidden = tanh(device, fc1(device, x));
    const auto scores = linear(device, hidden, const_view(fc2_weight).split(0, width), fc2_bias);  // (B, N, 1)
    auto weights = softmax(device, view(scores).select(2, 0));
    // The sum over tokens with weights (B, N) as (B, N, 1), whose axis of size 1 is then dropped by a copy.
    auto pooled = pointwise_sum(ProductOf(), device, {1}, x, view(weights).split(1, 1));
    auto out = drop_axis(device, pooled);
    return Result<decltype(out), decltype(weights)>{out, weights};
  }

 private:
  static constexpr std::string_view kName = "attention_pool";

  template <Device D, Operand X>
  static auto drop_axis(const D& device, const X& pooled) {
    if constexpr (Recorded<X>) {
      return pooled.select(1, 0);
    } else {
      return contiguous(device, const_view(pooled).select(1, 0));
    }
  }
};

}  // namespace heed::inline HEED_ISA
