// SPDX-License-Identifier: Apache-2.0
// talking_heads_attention: the heads are mixed before and after the softmax.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = out(join(U v)) with J = q k^T / sqrt(D) for each of Hk heads, L = talk_logits of the Hk numbers of a pair (i,
/// j), P = softmax of each of the H maps L, U = talk_weights of the H numbers of a pair, for each of Hv heads of v.
///
///   heed::TalkingHeadsAttention<float> attend;
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C). q.weight and k.weight (Hk D, C), v.weight (Hv Dv, C), talk_logits.weight (H, Hk),
/// talk_weights.weight (Hv, H), out.weight (C, Hv Dv): the numbers of heads are those of the weights. All biases are
/// optional; that of talk_logits changes nothing, that of talk_weights adds multiples of the sum of the values. Rows of
/// U need not sum to 1. Throws heed::Error for shapes that do not fit. Every pair needs all heads at once, so that the
/// maps are kept: memory O(B (Hk + H + Hv) N^2), time of dense attention and O(B N^2 (Hk H + H Hv)). The same bits for
/// any number of threads. Source: Shazeer et al. 2020.
template <Real T>
struct TalkingHeadsAttention {
  Linear<T> q = {}, k = {}, v = {}, talk_logits = {}, talk_weights = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "talk_logits.", talk_logits, "talk_weights.", talk_weights, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::TalkingHeadsAttention: x is (B, N, C)");
    const Index score_heads = talk_logits.weight.dimension(1), value_heads = talk_weights.weight.dimension(0);
    check(score_heads, value_heads);
    const auto queries = q(device, x);
    const auto keys = k(device, x);
    const auto values = v(device, x);
    const Index width = sizes_of(queries)[2] / score_heads;
    const auto scaled = scale(device, queries, 1 / std::sqrt(double(width)));
    const auto scores =
        matmul(device, split_heads(scaled, score_heads), split_heads(keys, score_heads).permute({0, 1, 3, 2}));
    const Index count = sizes_of(x)[1];
    const auto logits = talk(device, talk_logits, scores);
    const auto weights = softmax(device, view(logits).split(2, count));
    const auto talked = talk(device, talk_weights, weights);
    const auto mixed = matmul(device, view(talked).split(2, count), split_heads(values, value_heads));
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

 private:
  static constexpr std::string_view kName = "talking_heads_attention";

  // The layer along the heads of maps (B, H, N, N), as (B, H', N N): a product for each item, with pairs for columns.
  template <class D, Operand X>
  static auto talk(const D& device, const Linear<T>& layer, const X& maps) {
    const auto weight = parameter_with(layer.weight, maps);
    auto mixed = matmul(device, weight.template promote<3>(), view(maps).merge(2));
    if (layer.bias.size() == 0) return mixed;
    return add(device, mixed, view(layer.bias).split(0, 1));
  }

  void check(Index score_heads, Index value_heads) const {
    const auto several = [](Index rows, Index heads) { return heads > 0 && rows > 0 && rows % heads == 0; };
    require(several(q.weight.dimension(0), score_heads) && k.weight.dimension(0) == q.weight.dimension(0), kName,
            "q.weight and k.weight must have Hk D rows with Hk = ", score_heads, " of talk_logits.weight (H, Hk), got ",
            q.weight.dimension(0), " and ", k.weight.dimension(0));
    require(several(v.weight.dimension(0), value_heads), kName, "v.weight must have Hv Dv rows with Hv = ", value_heads,
            " of talk_weights.weight (Hv, H), got ", v.weight.dimension(0));
    check_linear(kName, "talk_weights", talk_weights, talk_logits.weight.dimension(0), value_heads);
    check_linear(kName, "talk_logits", talk_logits, score_heads, talk_logits.weight.dimension(0));
  }
};

}  // namespace heed::inline HEED_ISA
