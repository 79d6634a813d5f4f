// SPDX-License-Identifier: Apache-2.0
// doei_token_optimization: tokens moved by attention that was amplified where it is strong.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// S = attn + hybrid_weight rgb_affinity * E, E the cosines of the tokens. Tcc = S[cls, cls] + its transpose, Tcp =
/// S[cls, patch] + S[patch, cls]^T; pdo(T) multiplies the entries above the mean of their row by 1 + gamma, the others
/// by 1 - gamma. out = tokens + residual_weight [softmax(pdo(Tcc)) class tokens, w patch tokens], with w the mean of
/// pdo(Tcp) over the classes, divided by its mean over the patches.
///
/// tokens (n, C), class tokens first; attn (n, n), weights averaged over heads; rgb_affinity (n, n), similarity of
/// pixels lifted to tokens, 1 in the rows of classes where it is unknown; out (n, C). The split has no gradient. Throws
/// heed::Error for shapes and options that do not fit. Time O(n^2 C). Source: Zhu et al. 2025 (DOEI), a transcription
/// of the overview figure alone: neither code nor equations were to be had, and the constants and the exact
/// nonlinearity are our reading. Take it as a place to start from.
struct DoeiTokenOptimization {
  struct Options {
    Index num_class = 1;
    double gamma = 0.5;
    double hybrid_weight = 0.1;
    double residual_weight = 1;
  };

  Options options = {};

  template <Operand X, Operand A, Operand R>
  auto operator()(const X& tokens, const A& attn, const R& rgb_affinity) const {
    return (*this)(DeviceRef(), tokens, attn, rgb_affinity);
  }
  template <Device D, Operand X, Operand A, Operand R>
  auto operator()(const D& device, const X& tokens_like, const A& attn_like, const R& rgb_like) const {
    static_assert(kOperandRank<X> == 2 && kOperandRank<A> == 2 && kOperandRank<R> == 2,
                  "heed::DoeiTokenOptimization: tokens are (n, C), attn and rgb_affinity (n, n)");
    constexpr std::string_view name = "doei_token_optimization";
    const auto tokens = parameter_with(tokens_like, attn_like, rgb_like);
    const auto attn = parameter_with(attn_like, tokens_like, rgb_like);
    const auto rgb = parameter_with(rgb_like, tokens_like, attn_like);
    const Index n = sizes_of(tokens)[0], classes = options.num_class, patches = n - classes;
    const std::array<Index, 2> pairs{n, n};
    require(classes > 0 && patches > 0, name, "num_class must be from 1 to ", n - 1, ", got ", classes);
    require_shape(name, "attn", sizes_of(attn), pairs);
    require_shape(name, "rgb_affinity", sizes_of(rgb), pairs);

    const auto unit = l2_normalize(device, tokens);
    const auto cosines = matmul(device, unit, view(unit).permute({1, 0}));
    const auto s = add(device, attn, scale(device, multiply(device, rgb, cosines), options.hybrid_weight));
    const auto of = [&](Index row, Index rows, Index column, Index columns) {
      return view(s).slice(0, row, rows).slice(1, column, columns);
    };
    const auto class_pairs = add(device, of(0, classes, 0, classes), of(0, classes, 0, classes).permute({1, 0}));
    const auto patch_pairs =
        add(device, of(0, classes, classes, patches), of(classes, patches, 0, classes).permute({1, 0}));
    const auto class_weights = softmax(device, split(device, class_pairs));
    const auto class_update = matmul(device, class_weights, view(tokens).slice(0, 0, classes));
    const auto w = mean(device, split(device, patch_pairs), {0});  // (1, patches)
    const auto weights = divide(device, w, mean(device, w, {1}));
    const auto patch_update = multiply(device, view(weights).permute({1, 0}), view(tokens).slice(0, classes, patches));
    const auto update = concat<0>(device, class_update, patch_update);
    return add(device, tokens, scale(device, update, options.residual_weight));
  }

 private:
  template <Device D, Operand X>
  auto split(const D& device, const X& x) const {
    using T = OperandScalar<X>;
    const auto values = values_of(x);
    Tensor<T, 2> factor(values.size(0), values.size(1));
    for (Index i = 0; i < values.size(0); ++i) {
      double mean = 0;
      for (Index j = 0; j < values.size(1); ++j) mean += double(values(i, j)) / double(values.size(1));
      for (Index j = 0; j < values.size(1); ++j)
        factor(i, j) = T(double(values(i, j)) > mean ? 1 + options.gamma : 1 - options.gamma);
    }
    const auto by = constant_with(std::move(factor), x);
    return multiply(device, x, by);
  }
};

}  // namespace heed::inline HEED_ISA
