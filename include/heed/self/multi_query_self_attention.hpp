// SPDX-License-Identifier: Apache-2.0
// multi_query_self_attention: a short-query and a long-query block in parallel, blended.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/self/l_query_self_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = alpha * short(x) + (1 - alpha) * long(x), where a branch is a = l_query_self_attention(x), b = norm2(a),
/// c = b + fc2(ReLU(fc1(b))), norm3(c).
///
///   heed::MultiQuerySelfAttention<float> attend{{.short_window_size = 1, .long_window_size = 3, .alpha = 0.5}};
///   auto y = attend(x, mask);                               // or attend(device, x, mask)
///
/// x (B, N, C), mask (B, N) and out as in LQuerySelfAttention, whose parameters each branch has as short.* and long.*,
/// and beside them norm2, norm3 (weight and bias (C)) and fc1, fc2 (weight (C, C), bias (C) or empty). All norms have
/// eps 1e-24. out is 0 where there is no item. (The paper blends the scores of items, which are linear in this.)
///
/// Errors as LQuerySelfAttention. Time of two of them and of four products more. Source: Zhu et al. 2024,
/// "Collaboration and Transition" (MQSA-TED), with one block in each branch (transcription of the authors' graph).
template <Real T>
struct MultiQuerySelfAttention {
  struct Options {
    Index short_window_size = 1;  ///< items, 1 or more
    Index long_window_size = 3;
    double alpha = 0.5;  ///< share of the short branch
    Index num_heads = 1;
  };
  /// One of the two; the options of `attend` are those above.
  struct Branch {
    LQuerySelfAttention<T> attend = {};
    LayerNorm<T> norm2 = {.eps = 1e-24}, norm3 = {.eps = 1e-24};
    Linear<T> fc1 = {}, fc2 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      attend.for_each_parameter(f);
      visit_parts(f, "norm2.", norm2, "norm3.", norm3, "fc1.", fc1, "fc2.", fc2);
    }
  };

  Options options = {};
  Branch short_branch = {}, long_branch = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "short.", short_branch, "long.", long_branch);
  }

  template <Operand X, TensorLike M>
  auto operator()(const X& x, const M& mask) const {
    return (*this)(DeviceRef(), x, mask);
  }
  template <Device D, Operand X, TensorLike M>
  auto operator()(const D& device, const X& x, const M& mask) const {
    require(std::isfinite(options.alpha), kName, "alpha must be finite, got ", options.alpha);
    const auto brief = run(device, short_branch, options.short_window_size, x, mask);
    const auto far = run(device, long_branch, options.long_window_size, x, mask);
    const auto blended = add(device, scale(device, brief, options.alpha), scale(device, far, 1 - options.alpha));
    return masked_fill(device, blended, const_view(mask).split(1, 1), 0);
  }

 private:
  static constexpr std::string_view kName = "multi_query_self_attention";

  template <class D, class X, class M>
  auto run(const D& device, const Branch& branch, Index window_size, const X& x, const M& mask) const {
    const Index channels = sizes_of(x)[2];
    check_linear(kName, "fc1", branch.fc1, channels, channels);
    check_linear(kName, "fc2", branch.fc2, channels, channels);
    const auto attended =
        branch.attend.with({.window_size = window_size, .num_heads = options.num_heads}, device, x, mask, kName);
    const auto b = branch.norm2(device, attended);
    return branch.norm3(device, add(device, b, branch.fc2(device, relu(device, branch.fc1(device, b)))));
  }
};

}  // namespace heed::inline HEED_ISA
