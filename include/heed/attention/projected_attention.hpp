// SPDX-License-Identifier: Apache-2.0
// ProjectedAttention: an attention between its four linear maps, as a part of operators.
#pragma once

#include <string>

#include "heed/attention/heads.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// out(attend(q(query), k(key), v(value))) with `heads` heads: query (B, N, E), key (B, M, Ek) and value (B, M, Ev),
/// of any strides; the result (B, N, E'). Which attention it is, the caller says. Tensors, or variables where one of
/// query, key and value is one.
///
/// Gradient: of the blocks that it is made of.
template <Storage T>
struct ProjectedAttention {
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Device D, class Score, class Rule, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const SoftmaxAttention<Score, Rule>& attend, Index heads, const Q& query,
                  const K& key, const V& value) const {
    auto&& space = intermediates<Compute<OperandScalar<Q>>>("projected_attention", query, key, value);
    const auto make = [&](const auto& like, Index channels) {
      return space.template make<3>({sizes_of(like)[0], sizes_of(like)[1], channels});
    };
    const auto queries = make(query, q.weight.dimension(0));
    const auto keys = make(key, k.weight.dimension(0));
    const auto values = make(value, v.weight.dimension(0));
    const auto mixed = make(query, v.weight.dimension(0));
    q(device, query, queries);
    k(device, key, keys);
    v(device, value, values);
    attend(device, split_heads(queries, heads), split_heads(keys, heads), split_heads(values, heads),
           into(split_heads(mixed, heads)));
    return out(device, mixed);
  }

  /// Throws heed::Error in the name of an operator, of which this is the part `prefix`, unless it maps queries of
  /// `width` to results of that width by keys and values of `key_width`, through a multiple of `heads` channels.
  void check(std::string_view where, const std::string& prefix, Index width, Index key_width, Index heads) const {
    const Index inner = q.weight.dimension(0);
    require(heads > 0 && inner > 0 && inner % heads == 0, where, prefix,
            "q.weight must have a multiple of num_heads = ", heads, " rows, got ", inner);
    check_linear(where, prefix + "q", q, width, inner);
    check_linear(where, prefix + "k", k, key_width, inner);
    check_linear(where, prefix + "v", v, key_width, inner);
    check_linear(where, prefix + "out", out, inner, width);
  }
};

}  // namespace heed::inline HEED_ISA
