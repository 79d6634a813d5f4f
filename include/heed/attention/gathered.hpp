// SPDX-License-Identifier: Apache-2.0
// gathered_attention: softmax attention in which every query has a list of keys of its own.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/gathered_row.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The places of one query in a gathered attention, and its scores turned into weights.
template <Real T>
struct GatheredRow {
  Index count = 0;  // keys
  const std::int32_t* keys = nullptr;
  T* weights = nullptr;
  const T* query = nullptr;  // contiguous, times the scale
};

template <Real T>
struct GatheredProblem {
  View<const T, 4> q, k, v;
  View<const std::int32_t, 4> keys;  // (B, Hi, N, K)
  View<const T, 4> bias;             // (B, Hb, N or 1, M), or of null data
  double scale;

  Index of_head(Index h, Index heads) const { return h * heads / q.size(1); }
  kernel::TableRows<T> table(const View<const T, 4>& x, Index b, Index h) const {
    return {x.at(b, of_head(h, x.size(1))), x.stride(2), x.stride(3), x.size(3)};
  }
  const T* bias_row(Index b, Index h, Index i) const {
    return bias.at(b, of_head(h, bias.size(1)), bias.size(2) == 1 ? 0 : i);
  }

  GatheredRow<T> row(ScratchFrame& frame, Index b, Index h, Index i) const {
    GatheredRow<T> row;
    row.keys = keys.at(b, of_head(h, keys.size(1)), i);
    while (row.count < keys.size(3) && row.keys[row.count] >= 0) ++row.count;
    T* const query = frame.take<T>(q.size(3));
    for (Index d = 0; d < q.size(3); ++d) query[d] = T(scale) * q(b, h, i, d);
    row.query = query;
    row.weights = frame.take<T>(row.count);
    kernel::gathered_dots<T>(query, table(k, b, h), row.keys, row.count, row.weights);
    if (bias.data) {
      const T* const add = bias_row(b, h, i);
      for (Index s = 0; s < row.count; ++s) row.weights[s] += add[row.keys[s] * bias.stride(3)];
    }
    kernel::softmax_in_place<T>(row.weights, row.count);
    return row;
  }

  void check(const std::array<Index, 4>& out) const {
    constexpr std::string_view where = "gathered_attention";
    const Index heads = q.size(1), groups = k.size(1);
    require(k.size(0) == q.size(0) && groups > 0 && heads % groups == 0 && k.size(3) == q.size(3), where,
            "k must have shape (B, Hk, M, D) = (", q.size(0), ", Hk, M, ", q.size(3), ") with Hk dividing ", heads,
            ", got ", shape_text(k.sizes));
    require(v.size(0) == k.size(0) && v.size(1) == groups && v.size(2) == k.size(2), where,
            "v must agree with k but for the last axis, got ", shape_text(v.sizes));
    require(keys.size(0) == q.size(0) && keys.size(1) > 0 && heads % keys.size(1) == 0 && keys.size(2) == q.size(2) &&
                (keys.size(3) <= 1 || keys.stride(3) == 1),
            where, "the keys must have shape (B, Hi, N, K) with Hi dividing ", heads, ", got ", shape_text(keys.sizes));
    if (bias.data)
      require(bias.size(0) == q.size(0) && bias.size(1) % groups == 0 && heads % bias.size(1) == 0 &&
                  (bias.size(2) == 1 || bias.size(2) == q.size(2)) && bias.size(3) == k.size(2),
              where, "the bias must have shape (B, Hb, N or 1, M), got ", shape_text(bias.sizes));
    require_shape(where, "out", out, std::array<Index, 4>{q.size(0), heads, q.size(2), v.size(3)});
    for (Index b = 0; b < keys.size(0); ++b)
      for (Index h = 0; h < keys.size(1); ++h)
        for (Index i = 0; i < keys.size(2); ++i) {
          const std::int32_t* const list = keys.at(b, h, i);
          std::int32_t last = -1;
          for (Index s = 0; s < keys.size(3); ++s) last = std::max(last, list[s]);
          require(last < k.size(2), where, "key ", last, " is beyond the ", k.size(2));
        }
  }
};

}  // namespace detail

/// out(b, h, i) = the sum over s of w_s v(b, g, j_s), w = softmax over s of scale q_i . k(b, g, j_s) + bias(b, hb, i,
/// j_s), where j = keys(b, hi, i, :) is the list of query i up to the first negative place: q (B, H, N, D), k (B, Hk,
/// M, D), v (B, Hk, M, Dv), keys (B, Hi, N, K) int32, bias (B, Hb, N or 1, M) or of null data, out (B, H, N, Dv), all
/// of float or all of double. Hk, Hi and Hb divide H, Hk divides Hb: head h reads head floor(h Hk / H), .. A query
/// without keys gives 0. Throws heed::Error for shapes that do not fit and keys of M or more. Time O(B H N K (D + Dv)):
/// row by row, which is for lists that have little in common; where queries share their keys, attend_routes is faster
/// by far. The same bits for any number of threads.
///
/// Gradient: of q, k, v and bias, gathered_attention_backward; the lists have none.
template <Device D, Real T>
void gathered_attention(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                        const View<const T, 4>& v, const View<const std::int32_t, 4>& keys,
                        const View<const T, 4>& bias, double scale, const View<T, 4>& out) {
  const detail::GatheredProblem<T> p{q, k, v, keys, bias, scale};
  p.check(out.sizes);
  constexpr Index kRows = 16;
  const Index heads = q.size(1), queries = q.size(2), bands = (queries + kRows - 1) / kRows;
  parallel_for(device, q.size(0) * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, first = unit % bands * kRows;
    for (Index i = first; i < std::min(queries, first + kRows); ++i) {
      ScratchFrame frame;
      const auto row = p.row(frame, b, h, i);
      T* const made = frame.take<T>(v.size(3));
      kernel::gathered_mix<T>(row.weights, p.table(v, b, h), row.keys, row.count, made);
      for (Index d = 0; d < v.size(3); ++d) out(b, h, i, d) = made[d];
    }
  });
}

/// The gradients of gathered_attention, added; one of null data is not wanted. A head of keys belongs to one unit of
/// work: the same bits for any number of threads.
template <Device D, Real T>
void gathered_attention_backward(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                                 const View<const T, 4>& v, const View<const std::int32_t, 4>& keys,
                                 const View<const T, 4>& bias, double scale, const View<const T, 4>& d_out,
                                 const View<T, 4>& d_q, const View<T, 4>& d_k, const View<T, 4>& d_v,
                                 const View<T, 4>& d_bias) {
  const detail::GatheredProblem<T> p{q, k, v, keys, bias, scale};
  const Index groups = k.size(1), share = q.size(1) / groups, width = q.size(3), value_width = v.size(3);
  parallel_for(device, q.size(0) * groups, [&](Index unit) {
    const Index b = unit / groups, g = unit % groups;
    for (Index h = g * share; h < (g + 1) * share; ++h)
      for (Index i = 0; i < q.size(2); ++i) {
        ScratchFrame frame;
        const auto row = p.row(frame, b, h, i);
        T* const incoming = frame.take<T>(value_width);
        T* const d = frame.take<T>(row.count);
        for (Index c = 0; c < value_width; ++c) incoming[c] = d_out(b, h, i, c);
        kernel::gathered_dots<T>(incoming, p.table(v, b, h), row.keys, row.count, d);
        T mean = 0;
        for (Index s = 0; s < row.count; ++s) mean += row.weights[s] * d[s];
        for (Index s = 0; s < row.count; ++s) {
          const Index key = row.keys[s];
          const T by = row.weights[s] * (d[s] - mean);
          if (d_v.data)
            kernel::add_multiple(row.weights[s], incoming, 1, value_width, d_v.at(b, g, key), d_v.stride(3));
          if (d_k.data) kernel::add_multiple(by, row.query, 1, width, d_k.at(b, g, key), d_k.stride(3));
          if (d_q.data)
            kernel::add_multiple(T(scale) * by, k.at(b, g, key), k.stride(3), width, d_q.at(b, h, i), d_q.stride(3));
          if (d_bias.data) d_bias(b, p.of_head(h, bias.size(1)), bias.size(2) == 1 ? 0 : i, key) += by;
        }
      }
  });
}

}  // namespace heed::inline HEED_ISA
