// SPDX-License-Identifier: Apache-2.0
// l_query_self_attention: causal self-attention whose query is the mean of the last few items.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/window_mean.hpp"

namespace heed::inline HEED_ISA {

/// out_t = attention of query u_t over the items up to t, plus u_t, where u_t = norm(mean of the last window_size
/// items).
///
///   heed::LQuerySelfAttention<float> attend{{.window_size = 3}};
///   auto y = attend(x, mask);                               // or attend(device, x, mask)
///
/// x (B, N, C), items with their positions; mask (B, N) of std::uint8_t, 1 = an item is there (the padding is usually
/// on the left); out (B, N, C), 0 where there is none. The mean is over the items that are there among t - window_size
/// + 1 .. t; norm is a layer norm with eps 1e-24; q is of u, k and v of x itself; visible are the items j <= t that are
/// there; scale 1 / sqrt(C / num_heads). There is no output projection. norm.weight and norm.bias (C), {q,k,v}.weight
/// (C, C) with bias (C) or empty. window_size = 1 is the usual query.
///
/// What is not there never changes a result. Throws heed::Error for shapes and options that do not fit. Time of three
/// products, of the mean O(B N C window_size) and of softmax_attention. Source: Zhu et al. 2024, "Collaboration and
/// Transition" (MQSA-TED), long-query block (transcription of the authors' graph).
template <Real T>
struct LQuerySelfAttention {
  struct Options {
    Index window_size = 3;  ///< items, 1 or more
    Index num_heads = 1;
  };

  Options options = {};
  LayerNorm<T> norm = {.eps = 1e-24};
  Linear<T> q = {}, k = {}, v = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "norm.", norm, "q.", q, "k.", k, "v.", v);
  }

  template <Operand X, TensorLike M>
  auto operator()(const X& x, const M& mask) const {
    return (*this)(DeviceRef(), x, mask);
  }
  template <Device D, Operand X, TensorLike M>
  auto operator()(const D& device, const X& x, const M& mask) const {
    return with(options, device, x, mask, kName);
  }
  /// The same with other options, its errors in the name of `where`: for an operator that this is a part of.
  template <Device D, Operand X, TensorLike M>
  auto with(const Options& chosen, const D& device, const X& x, const M& mask_like, std::string_view where) const {
    static_assert(kOperandRank<X> == 3 && kRankOf<M> == 2 && std::same_as<ScalarOf<M>, std::uint8_t>,
                  "heed::LQuerySelfAttention: x is (B, N, C) and mask (B, N), of std::uint8_t");
    const auto mask = const_view(mask_like);
    check(chosen, sizes_of(x), mask.sizes, where);
    const Index heads = chosen.num_heads;
    const auto items = masked_fill(device, x, mask.split(1, 1), 0);
    const auto u = norm(device, window_mean(device, items, mask, chosen.window_size));
    const auto queries = q(device, u);
    const auto keys = k(device, items);
    const auto values = v(device, items);
    const auto kept = packed_with(mask, x);
    const auto mixed = attend_heads(device, softmax_attention(causal() && key_mask(kept)), split_heads(queries, heads),
                                    split_heads(keys, heads), split_heads(values, heads));
    return masked_fill(device, add(device, mixed, u), mask.split(1, 1), 0);
  }

 private:
  static constexpr std::string_view kName = "l_query_self_attention";

  void check(const Options& chosen, const std::array<Index, 3>& x, const std::array<Index, 2>& mask,
             std::string_view where) const {
    require_shape(where, "mask", mask, std::array<Index, 2>{x[0], x[1]});
    require(chosen.window_size > 0, where, "a window must be 1 or more items, got ", chosen.window_size);
    require(chosen.num_heads > 0 && x[2] > 0 && x[2] % chosen.num_heads == 0, where, "C = ", x[2],
            " must be a multiple of num_heads = ", chosen.num_heads);
    check_linears(where, x[2], x[2], "q", q, "k", k, "v", v);
  }
};

}  // namespace heed::inline HEED_ISA
