// SPDX-License-Identifier: Apache-2.0
// decoupled_query_key_attention: queries and keys come from another sequence than the values.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// Multi-head attention with q and k of `qk_source` and v of x. The source decides on the variant: what layer l of the
/// same network makes of random embeddings (RndEmbQK) or of one fixed text (FixedSeqQK), both the same for all
/// sequences, or the token embeddings of each sequence (StaticEmbQK).
///
///   heed::DecoupledQueryKeyAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x, qk_source);                          // or attend(device, x, qk_source)
///
/// x (B, N, C); qk_source (1 or B, Nx, C) with Nx >= N, of which the first N tokens are read; out (B, N, C). q, k, v
/// and out: weight (C, C), bias (C) or empty. C is a multiple of num_heads; scale 1 / sqrt(C / num_heads). Causal: j <=
/// i.
///
/// With one source for the batch every head has one attention map, made once: the values of all sequences are mixed by
/// it together. Throws heed::Error for shapes and options that do not fit. Time of four products and of
/// softmax_attention over (1 or B) maps. Source: Xue, Moosavi and Aletras 2025, eq. 9 to 13 (transcription).
template <Real T>
struct DecoupledQueryKeyAttention {
  struct Options {
    Index num_heads = 1;
    bool causal = true;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
  }

  template <Operand X, Operand S>
  auto operator()(const X& x, const S& qk_source) const {
    return (*this)(DeviceRef(), x, qk_source);
  }
  template <Device D, Operand X, Operand S>
  auto operator()(const D& device, const X& x, const S& qk_source) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<S> == 3,
                  "heed::DecoupledQueryKeyAttention: x is (B, N, C) and qk_source (1 or B, Nx, C)");
    const auto sizes = sizes_of(x);
    check(sizes, sizes_of(qk_source));
    const Index heads = options.num_heads;
    const auto source = view(qk_source).slice(0, 0, std::min(sizes_of(qk_source)[0], sizes[0])).slice(1, 0, sizes[1]);
    const auto attend = softmax_attention(when(options.causal, causal()));
    const auto queries = q(device, source);
    const auto keys = k(device, source);
    const auto values = v(device, x);
    if (sizes_of(source)[0] == sizes[0]) {
      return out(device, attend_heads(device, attend, split_heads(queries, heads), split_heads(keys, heads),
                                      split_heads(values, heads)));
    }
    // (B, N, H D) as (1, H, N, B D): what one map mixes.
    const Index width = sizes[2] / heads;
    const auto rows = contiguous(device, view(values).split(2, width).permute({2, 1, 0, 3}));
    const auto together = attend(device, split_heads(queries, heads), split_heads(keys, heads),
                                 view(rows).merge(2).template promote<4>());
    const auto mixed = contiguous(device, view(together).select(0, 0).split(2, width).permute({2, 1, 0, 3}));
    return out(device, view(mixed).merge(2));
  }

 private:
  static constexpr std::string_view kName = "decoupled_query_key_attention";

  void check(const std::array<Index, 3>& x, const std::array<Index, 3>& source) const {
    require((source[0] == 1 || source[0] == x[0]) && source[1] >= x[1] && source[2] == x[2], kName,
            "qk_source must have shape (1 or B, Nx, C) with B = ", x[0], ", Nx >= ", x[1], " and C = ", x[2], ", got ",
            shape_text(source));
    require(options.num_heads > 0 && x[2] > 0 && x[2] % options.num_heads == 0, kName, "C = ", x[2],
            " must be a multiple of num_heads = ", options.num_heads);
    check_linears(kName, x[2], x[2], "q", q, "k", k, "v", v, "out", out);
  }
};

}  // namespace heed::inline HEED_ISA
