// SPDX-License-Identifier: Apache-2.0
// acmil_multihead_attention: branches with a query token and heads of their own, and the bag by their mean weights.
#pragma once

#include "heed/block/heads.hpp"
#include "heed/block/normalize.hpp"
#include "heed/sparse/acmil_attention.hpp"

namespace heed::inline HEED_ISA {

/// z = relu(x reduce.weight^T). Branch k: the token query_k attends to z with its own projections, logits / sqrt(L /
/// H), with n_masked after StochasticTopkInstanceMask for each head; f_k = norm_k(out_k(the heads side by side)),
/// branch_logits_k = branch_k(f_k). Bag: the mean over k of the weights, for each head, times bag_v(z), then bag_out,
/// bag_norm and bag. The branches' own outputs are not used for the bag.
///
/// x (N, Din), one bag, N >= 1; branch_logits (K, n_class), bag_logits (1, n_class), attn_logits (K, H, N); rand (K, H,
/// min(n_masked, N)), the draws, if n_masked is not 0. reduce.weight (L, Din); query (K, L); q.weight, k.weight,
/// v.weight and out.weight (K, L, L), their biases (K, L); norm.weight and norm.bias (K, L); branch.weight (K, n_class,
/// L), branch.bias (K, n_class); bag_v.weight and bag_out.weight (L, L), bag_norm.weight and bag_norm.bias (L),
/// bag.weight (n_class, L) and their biases. Layer norms have eps 1e-6. Throws heed::Error for shapes and options that
/// do not fit. Time O(K N L^2). The same bits for any number of threads. Source: Zhang et al. 2024, dazhangyu123/ACMIL,
/// the class ACMIL_MHA.
template <Real T>
struct AcmilMultiheadAttention {
  struct Options {
    Index num_heads = 8;
    Index n_masked = 0;      ///< 0: inference
    double mask_drop = 0.6;  ///< 0 to 1
  };
  template <class X, class A>
  struct Result {
    X branch_logits, bag_logits;
    A attn_logits;
  };
  /// A linear layer for each branch.
  struct BranchLinear {
    Tensor<T, 3> weight = {};  ///< (K, out, in)
    Tensor<T, 2> bias = {};    ///< (K, out) or empty

    template <class F>
    void for_each_parameter(F&& f) {
      f("weight", weight);
      f("bias", bias, heed::optional);
    }
  };

  Options options = {};
  Linear<T> reduce = {};
  Tensor<T, 2> query = {};  ///< (K, L)
  BranchLinear q = {}, k = {}, v = {}, out = {};
  Tensor<T, 2> norm_weight = {};  ///< norm.weight (K, L)
  Tensor<T, 2> norm_bias = {};    ///< norm.bias (K, L)
  BranchLinear branch = {};
  Linear<T> bag_v = {}, bag_out = {};
  LayerNorm<T> bag_norm = {{}, {}, 1e-6};
  Linear<T> bag = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("reduce.", reduce, f);
    f("query", query);
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    f("norm.weight", norm_weight);
    f("norm.bias", norm_bias);
    visit_parts(f, "branch.", branch, "bag_v.", bag_v, "bag_out.", bag_out, "bag_norm.", bag_norm, "bag.", bag);
  }

  template <Operand X>
  auto operator()(const X& x, const std::optional<View<const T, 3>>& rand = {}) const {
    return (*this)(DeviceRef(), x, rand);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const std::optional<View<const T, 3>>& rand = {}) const {
    static_assert(kOperandRank<X> == 2, "heed::AcmilMultiheadAttention: x is (N, Din)");
    check(sizes_of(x));
    const Index heads = options.num_heads, branches = query.dimension(0), width = query.dimension(1);
    const Index instances = sizes_of(x)[0];
    const auto apply = [&](const BranchLinear& layer, const auto& input) {
      return detail::branch_linear(device, input, parameter_with(layer.weight, x), parameter_with(layer.bias, x));
    };
    // (K, H, 1, D), contiguous, as (K, L).
    const auto side_by_side = [](const auto& mixed) { return view(mixed).select(2, 0).merge(1); };

    const auto z = relu(device, reduce(device, x));
    const auto bag_of_all = view(z).template promote<3>();
    const auto queries = apply(q, parameter_with(query, x).split(0, 1));  // (K, 1, L)
    const auto scaled = scale(device, queries, 1 / std::sqrt(double(width / heads)));
    const auto keys = apply(k, bag_of_all);  // (K, N, L)
    const auto values = apply(v, bag_of_all);
    const auto products =
        matmul(device, split_heads(scaled, heads), split_heads(keys, heads).permute({0, 1, 3, 2}));  // (K, H, 1, N)
    const StochasticTopkInstanceMask mask{{options.n_masked, options.mask_drop}};
    auto logits = mask.drop_if(device, copy_as<3>(device, products, {branches, heads, instances}), rand);
    const auto weights = softmax(device, logits);

    const auto mixed = matmul(device, view(weights).split(1, 1), split_heads(values, heads));
    const auto projected = apply(out, side_by_side(mixed).split(0, 1));  // (K, 1, L)
    const LayerNorm<T> plain{{}, {}, 1e-6};
    const auto scale_by = parameter_with(norm_weight, x), shift_by = parameter_with(norm_bias, x);
    const auto features =
        add(device, multiply(device, plain(device, projected), scale_by.split(0, 1)), shift_by.split(0, 1));
    auto branch_logits = copy_as<2>(device, apply(branch, features), {branches, branch.weight.dimension(1)});

    const auto shared = mean(device, weights, {0});  // (1, H, N)
    const auto bag_values = bag_v(device, z);
    const auto bag_mixed =
        matmul(device, view(shared).split(1, 1), split_heads(view(bag_values).template promote<3>(), heads));
    auto bag_logits = bag(device, bag_norm(device, bag_out(device, side_by_side(bag_mixed))));
    return Result<decltype(branch_logits), decltype(logits)>{std::move(branch_logits), std::move(bag_logits),
                                                             std::move(logits)};
  }

 private:
  static constexpr std::string_view kName = "acmil_multihead_attention";

  void check(const std::array<Index, 2>& x) const {
    const Index branches = query.dimension(0), width = query.dimension(1), classes = bag.weight.dimension(0);
    require(x[0] > 0, kName, "x must have instances, got shape ", shape_text(x));
    require(branches > 0, kName, "query must have shape (K, L), K branches");
    require(options.num_heads > 0 && width > 0 && width % options.num_heads == 0, kName, "L = ", width,
            " must be a multiple of num_heads = ", options.num_heads);
    check_linear(kName, "reduce", reduce, x[1], width);
    const auto check_branches = [&](std::string_view name, const BranchLinear& layer, Index outputs) {
      const std::array<Index, 3> weight{branches, outputs, width};
      const std::array<Index, 2> bias{branches, outputs};
      require(const_view(layer.weight).sizes == weight, kName, name, ".weight must have shape ", shape_text(weight),
              ", got ", shape_text(const_view(layer.weight).sizes));
      require(layer.bias.size() == 0 || const_view(layer.bias).sizes == bias, kName, name,
              ".bias must be empty or have shape ", shape_text(bias), ", got ",
              shape_text(const_view(layer.bias).sizes));
    };
    check_branches("q", q, width);
    check_branches("k", k, width);
    check_branches("v", v, width);
    check_branches("out", out, width);
    check_branches("branch", branch, classes);
    require_shape(kName, "norm.weight", const_view(norm_weight).sizes, std::array<Index, 2>{branches, width});
    require_shape(kName, "norm.bias", const_view(norm_bias).sizes, std::array<Index, 2>{branches, width});
    check_linear(kName, "bag_v", bag_v, width, width);
    check_linear(kName, "bag_out", bag_out, width, width);
    check_linear(kName, "bag", bag, width, classes);
  }
};

}  // namespace heed::inline HEED_ISA
