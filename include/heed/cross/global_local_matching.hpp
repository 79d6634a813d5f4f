// SPDX-License-Identifier: Apache-2.0
// global_local_matching: scores of all pairs of mentions and entities, by class tokens and by what tokens read.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out[m, e] = (cls(entity_cls[e]) . c_em + entity_cls[e] . mention_cls[m]) / 2 with c_em = norm(mean over the tokens
/// of entity e of what they read from the tokens of mention m: one head, scores q . k / sqrt(F)).
///
///   heed::GlobalLocalMatching<float> match;
///   auto scores = match(entity_cls, entity_tokens, mention_cls, mention_tokens);
///
/// entity_cls (E, C), entity_tokens (E, Le, C), mention_cls (Q, C), mention_tokens (Q, Lm, C), out (Q, E); q, k, v, cls
/// C to F, biases optional, norm (F). All tokens count. The queries of all entities are attended at once, mention by
/// mention: memory O(E Le F). Throws heed::Error for shapes that do not fit. Time O(E Q Le Lm F). The same bits for any
/// number of threads. Source: Hu et al. 2024 (M3EL), the authors' TextIntraModalMatch and ImageIntraModalMatch.
template <Real T>
struct GlobalLocalMatching {
  struct Options {
    double eps = 1e-5;  ///< of the norm
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, cls = {};
  LayerNorm<T> norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "cls.", cls, "norm.", norm);
  }

  template <Operand EC, Operand ET, Operand MC, Operand MT>
  auto operator()(const EC& entity_cls, const ET& entity_tokens, const MC& mention_cls,
                  const MT& mention_tokens) const {
    return (*this)(DeviceRef(), entity_cls, entity_tokens, mention_cls, mention_tokens);
  }
  template <Device D, Operand EC, Operand ET, Operand MC, Operand MT>
  auto operator()(const D& device, const EC& entity_cls, const ET& entity_tokens, const MC& mention_cls,
                  const MT& mention_tokens) const {
    static_assert(kOperandRank<EC> == 2 && kOperandRank<ET> == 3 && kOperandRank<MC> == 2 && kOperandRank<MT> == 3,
                  "heed::GlobalLocalMatching: class tokens are (E, C) and (Q, C), tokens (E, Le, C) and (Q, Lm, C)");
    const auto e = sizes_of(entity_tokens), m = sizes_of(mention_tokens);
    check(sizes_of(entity_cls), e, sizes_of(mention_cls), m);
    const auto all = [&](const auto& x) {
      return parameter_with(x, entity_cls, entity_tokens, mention_cls, mention_tokens);
    };
    const auto entity = all(entity_cls);
    const auto queries = q(device, all(entity_tokens)), keys = k(device, all(mention_tokens));
    const auto values = v(device, all(mention_tokens)), classes = cls(device, entity);
    const auto one = view(queries).merge(0).template promote<4>();
    auto local = make_output<T, 2>(kName, {m[0], e[0]}, classes, queries, keys);
    for (Index i = 0; i < m[0]; ++i) {
      const auto read = softmax_attention()(device, one, view(keys).slice(0, i, 1).split(0, 1),
                                            view(values).slice(0, i, 1).split(0, 1));
      const auto pooled = mean(device, view(read).select(0, 0).select(0, 0).split(0, e[1]), {1});
      const auto context = layer_norm(device, pooled, norm.weight, norm.bias, options.eps);
      const auto scores = sum(device, multiply(device, view(context).select(1, 0), classes), {1});
      concat_into<1>(device, view(local).slice(0, i, 1), view(scores).permute({1, 0}));
    }
    const auto global = matmul(device, all(mention_cls), view(entity).permute({1, 0}));
    return scale(device, add(device, local, global), 0.5);
  }

 private:
  static constexpr std::string_view kName = "global_local_matching";

  void check(const std::array<Index, 2>& entity_cls, const std::array<Index, 3>& entity_tokens,
             const std::array<Index, 2>& mention_cls, const std::array<Index, 3>& mention_tokens) const {
    const Index channels = entity_cls[1], width = q.weight.dimension(0);
    require(entity_tokens[0] == entity_cls[0] && entity_tokens[2] == channels && entity_tokens[1] > 0, kName,
            "entity_tokens must have shape (E, Le, C) with E = ", entity_cls[0], " and C = ", channels, ", got ",
            shape_text(entity_tokens));
    require(mention_cls[1] == channels, kName, "mention_cls must have shape (Q, C) with C = ", channels, ", got ",
            shape_text(mention_cls));
    require(mention_tokens[0] == mention_cls[0] && mention_tokens[2] == channels, kName,
            "mention_tokens must have shape (Q, Lm, C) with Q = ", mention_cls[0], " and C = ", channels, ", got ",
            shape_text(mention_tokens));
    check_linears(kName, channels, width, "q", q, "k", k, "v", v, "cls", cls);
  }
};

}  // namespace heed::inline HEED_ISA
