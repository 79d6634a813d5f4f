// SPDX-License-Identifier: Apache-2.0
// global_local_cross_attention: the queries that the class token attends to most read the whole image.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(softmax(Q k(x)^T / sqrt(D)) v(x))), Q = q of the rows `indices` of x: the top_k patches of the
/// largest response T[0, j], from the largest on, behind token 0, the class token, if that is included. T is the
/// rollout of the attention of all earlier layers, T = S_L .. S_1, S_l = (1 - r) mean over the heads of attn_maps[l] +
/// r I.
///
///   heed::GlobalLocalCrossAttention<float> attend{{.num_heads = 12, .top_k = 19}};
///   auto [out, indices] = attend(x, attn_maps);             // or attend(device, x, attn_maps)
///
/// x (B, N, C); attn_maps (L, B, Hm, N, N), L from 1, without gradient and not normalised again; out (B, R, C), indices
/// (B, R) int32, R = top_k or top_k + 1; q, k, v, out: C to C. top_k is 1 .. N - 1; ties go to the lower index. Only
/// the row of the class token is rolled out, from the last layer down: O(B L Hm N^2) and no N x N memory. Throws
/// heed::Error for shapes and options that do not fit. The same bits for any number of threads. Source: Zhu et al. 2022
/// (Dual Cross-Attention Learning), section 3.2; transcription, the selection checked against an independent
/// implementation.
template <Real T>
struct GlobalLocalCrossAttention {
  struct Options {
    Index num_heads = 1;
    Index top_k = 1;
    bool include_cls = true;
    double residual_weight = 0.5;  ///< r, in [0, 1]
  };
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::int32_t, 2> indices;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand X, Operand M>
  auto operator()(const X& x, const M& attn_maps) const {
    return (*this)(DeviceRef(), x, attn_maps);
  }
  template <Device D, Operand X, Operand M>
  auto operator()(const D& device, const X& x, const M& attn_maps) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<M> == 5,
                  "heed::GlobalLocalCrossAttention: x is (B, N, C), attn_maps (L, B, Hm, N, N)");
    check(sizes_of(x), sizes_of(attn_maps));
    auto indices = selected(device, values_of(attn_maps));
    const auto chosen = gather(device, x, indices);
    const auto queries = q(device, chosen);
    const auto mixed =
        attend_heads(device, softmax_attention(), options.num_heads, queries, k(device, x), v(device, x));
    auto result = out(device, mixed);
    return Result<decltype(result)>{std::move(result), std::move(indices)};
  }

 private:
  static constexpr std::string_view kName = "global_local_cross_attention";

  template <class D, class U>
  Tensor<std::int32_t, 2> selected(const D& device, const View<const U, 5>& maps) const {
    const Index batch = maps.size(1), tokens = maps.size(3);
    Tensor<U, 4> row(batch, 1, 1, tokens);
    row.setZero();
    fill(device, view(row).slice(3, 0, 1), 1);
    for (Index layer = maps.size(0) - 1; layer >= 0; --layer) {
      const auto by_head = matmul(device, row, maps.select(0, layer));
      const auto moved = mean(device, by_head, {1});
      row = add(device, scale(device, moved, 1 - options.residual_weight), scale(device, row, options.residual_weight));
    }
    // The class token comes first or not at all.
    constexpr double kFirst = std::numeric_limits<double>::infinity();
    fill(device, view(row).slice(3, 0, 1), options.include_cls ? kFirst : -kFirst);
    return top_k(device, view(row).merge(1).merge(0), options.top_k + Index(options.include_cls)).indices;
  }

  void check(const std::array<Index, 3>& x, const std::array<Index, 5>& maps) const {
    require(maps[0] >= 1 && maps[2] >= 1, kName, "attn_maps must have one layer and one head or more, got shape ",
            shape_text(maps));
    require(maps[1] == x[0] && maps[3] == x[1] && maps[4] == x[1], kName,
            "attn_maps must have shape (L, B, Hm, N, N) with B = ", x[0], " and N = ", x[1], ", got ",
            shape_text(maps));
    require(options.top_k >= 1 && options.top_k <= x[1] - 1, kName, "top_k must be in 1 .. N - 1 = ", x[1] - 1,
            ", got ", options.top_k);
    require(options.residual_weight >= 0 && options.residual_weight <= 1, kName,
            "residual_weight must be in [0, 1], got ", options.residual_weight);
  }
};

}  // namespace heed::inline HEED_ISA
