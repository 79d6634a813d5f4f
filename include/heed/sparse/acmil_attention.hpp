// SPDX-License-Identifier: Apache-2.0
// acmil_attention: several gated branches over a bag, and the bag by their mean.
#pragma once

#include "heed/block/reduce.hpp"
#include "heed/sparse/gated_attention_pool.hpp"
#include "heed/sparse/stochastic_topk_instance_mask.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// out(k, n, :) = weight(k) x(k or 0, n, :) + bias(k): a linear layer of its own for each branch. weight (K, out, in),
/// bias (K, out) or empty.
template <Device D, Operand X, Operand W, Operand B>
auto branch_linear(const D& device, const X& x, const W& weight, const B& bias) {
  auto out = matmul(device, x, view(weight).permute({0, 2, 1}));
  if (sizes_of(bias)[0] > 0) out = add(device, out, view(bias).split(0, 1));
  return out;
}

}  // namespace detail

/// z = relu(x reduce.weight^T), A = the logits of GatedAttentionPool of z, with n_masked after
/// StochasticTopkInstanceMask; p = softmax(A); branch_logits_k = branch_k(p_k z), bag_logits = bag(mean of p over k,
/// z).
///
///   heed::AcmilAttention<float> mil{{.n_masked = 10}};
///   auto result = mil(x, rand);                             // mil(x) where n_masked is 0
///
/// x (N, Din), one bag; branch_logits (K, n_class), bag_logits (1, n_class), attn_logits (K, N), which are A; rand (K,
/// min(n_masked, N)), the draws. reduce.weight (L, Din), no bias; v.weight and u.weight (D, L), v.bias and u.bias (D),
/// score.weight (K, D), score.bias (K); branch.weight (K, n_class, L), branch.bias (K, n_class), bag.weight (n_class,
/// L), bag.bias. Throws heed::Error for shapes and options that do not fit. Time O(N L (Din + D + K)). The same bits
/// for any number of threads. Source: Zhang et al. 2024, dazhangyu123/ACMIL, the class ACMIL_GA.
template <Real T>
struct AcmilAttention {
  struct Options {
    Index n_masked = 0;      ///< 0: inference
    double mask_drop = 0.6;  ///< 0 to 1
  };
  template <class X>
  struct Result {
    X branch_logits, bag_logits, attn_logits;
  };

  Options options = {};
  Linear<T> reduce = {};
  GatedAttentionPool<T> pool = {};
  Tensor<T, 3> branch_weight = {};  ///< branch.weight (K, n_class, L)
  Tensor<T, 2> branch_bias = {};    ///< branch.bias (K, n_class)
  Linear<T> bag = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "reduce.", reduce, "", pool);
    f("branch.weight", branch_weight);
    f("branch.bias", branch_bias, heed::optional);
    visit_part("bag.", bag, f);
  }

  template <Operand X>
  auto operator()(const X& x, const std::optional<View<const T, 2>>& rand = {}) const {
    return (*this)(DeviceRef(), x, rand);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const std::optional<View<const T, 2>>& rand = {}) const {
    static_assert(kOperandRank<X> == 2, "heed::AcmilAttention: x is (N, Din)");
    const Index width = reduce.weight.dimension(0), branches = pool.score.weight.dimension(0);
    const Index classes = bag.weight.dimension(0);
    check_linear(kName, "reduce", reduce, sizes_of(x)[1], width);
    check_linear(kName, "bag", bag, width, classes);
    require_shape(kName, "branch.weight", const_view(branch_weight).sizes,
                  std::array<Index, 3>{branches, classes, width});
    require(branch_bias.size() == 0 || const_view(branch_bias).sizes == std::array<Index, 2>{branches, classes}, kName,
            "branch.bias must be empty or have shape (", branches, ", ", classes, "), got ",
            shape_text(const_view(branch_bias).sizes));
    const auto z = relu(device, reduce(device, x));
    const StochasticTopkInstanceMask mask{{options.n_masked, options.mask_drop}};
    auto logits = mask.drop_if(device, pool.attention_logits(device, z), rand);
    const auto p = softmax(device, logits);
    const auto pooled = matmul(device, p, z);
    const auto weight = parameter_with(branch_weight, x);
    const auto bias = parameter_with(branch_bias, x);
    const auto answers = detail::branch_linear(device, view(pooled).split(0, 1), weight, bias);  // (K, 1, n_class)
    auto branch_logits = copy_as<2>(device, answers, {branches, classes});
    auto bag_logits = bag(device, matmul(device, mean(device, p, {0}), z));
    return Result<decltype(logits)>{std::move(branch_logits), std::move(bag_logits), std::move(logits)};
  }

 private:
  static constexpr std::string_view kName = "acmil_attention";
};

}  // namespace heed::inline HEED_ISA
