// SPDX-License-Identifier: Apache-2.0
// The keys and values of one source among several that a query reads one by one.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// k and v of a source. Attentions of one query to several sources share its projection: each is read() on its own, and
/// their weighted sum goes through one output projection.
template <Real T>
struct KeyValueProjection {
  Linear<T> k = {}, v = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "k.", k, "v.", v);
  }

  /// join(softmax(q k(source)^T / sqrt(D)) v(source)) of projected queries (B, N, C) and a source (B, M, Cs), M from 0.
  template <Device D, Operand Q, Operand X>
  auto read(const D& device, Index num_heads, const Q& queries, const X& source) const {
    return attend_heads(device, softmax_attention(), num_heads, queries, k(device, source), v(device, source));
  }
};

}  // namespace heed::inline HEED_ISA
