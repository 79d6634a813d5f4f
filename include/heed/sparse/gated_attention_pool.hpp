// SPDX-License-Identifier: Apache-2.0
// gated_attention_pool: the instances of a bag, pooled by a scoring network.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// attn_logits(k, n) = score_k . h_n + score.bias_k with h_n = tanh(v(x_n)), times sigmoid(u(x_n)) if gated;
/// out_k = sum over n of softmax_n(attn_logits)(k, n) x_n.
///
/// x (N, L), N >= 1, attn_logits (K, N), out (K, L); v.weight and u.weight (D, L), v.bias and u.bias (D), score.weight
/// (K, D), score.bias (K), K scoring branches; biases are optional, u is there if gated. v and u are the paper's V and
/// U: v is no value projection. Throws heed::Error for shapes that do not fit. Time O(N L (D + K)). The same bits for
/// any number of threads. Source: Ilse et al. 2018; dazhangyu123/AEM.
template <Real T>
struct GatedAttentionPool {
  struct Options {
    bool gated = true;
  };
  template <class X>
  struct Result {
    X attn_logits, out;
  };

  Options options = {};
  Linear<T> v = {}, u = {}, score = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("v.", v, f);
    if (options.gated) {
      visit_part("u.", u, f);
    } else {
      visit_part("u.", u, f, heed::optional);
    }
    visit_part("score.", score, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    auto logits = attention_logits(device, x);
    auto out = matmul(device, softmax(device, logits), x);
    return Result<decltype(out)>{std::move(logits), std::move(out)};
  }

  /// attn_logits alone.
  template <Device D, Operand X>
  auto attention_logits(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 2, "heed::GatedAttentionPool: x is (N, L)");
    const Index width = v.weight.dimension(0), branches = score.weight.dimension(0);
    require(sizes_of(x)[0] > 0, kName, "x must have instances, got shape ", shape_text(sizes_of(x)));
    require(width > 0 && branches > 0, kName, "v.weight and score.weight must have rows");
    check_linear(kName, "v", v, sizes_of(x)[1], width);
    if (options.gated) check_linear(kName, "u", u, sizes_of(x)[1], width);
    check_linear(kName, "score", score, width, branches);
    auto hidden = tanh(device, v(device, x));
    if (options.gated) hidden = multiply(device, hidden, sigmoid(device, u(device, x)));
    const auto logits = score(device, hidden);
    return contiguous(device, view(logits).permute({1, 0}));
  }

 private:
  static constexpr std::string_view kName = "gated_attention_pool";
};

}  // namespace heed::inline HEED_ISA
