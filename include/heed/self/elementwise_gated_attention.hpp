// SPDX-License-Identifier: Apache-2.0
// elementwise_gated_attention: every token scores itself, and no pair is compared.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/reduce.hpp"
#include "heed/scan/softmax_scan.hpp"

namespace heed::inline HEED_ISA {

/// out_i = sum over j <= i of e^g_j v_j / sum over j <= i of e^g_j for each head, through an output projection, with
/// g_j = SiLU(q_j) . k_j / sqrt(D) of the projections q, k and v.
///
///   heed::ElementwiseGatedAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C); all weights (C, C), all biases (C), or empty. Head h has the channels h D .. h D + D - 1, and C
/// is a multiple of num_heads. Without causal the sums run over all tokens, and all rows of out are alike. Throws
/// heed::Error for shapes and options that do not fit. Time O(B N C^2) for the projections and O(B N C) for the rest;
/// no matrix of N x N. The same bits for any number of threads.
/// Source: Xue, Moosavi and Aletras 2025, Deconstructing Attention, eq. 7-8 (the "non-approximate" variant);
/// transcription.
template <Real T>
struct ElementwiseGatedAttention {
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

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::ElementwiseGatedAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index width = sizes[2] / options.num_heads;
    const auto gate = silu(device, q(device, x));
    const auto pairs = multiply(device, gate, k(device, x));
    const auto scores = sum(device, view(pairs).split(2, width), {3}, 1 / std::sqrt(double(width)));  // (B, N, H, 1)
    const auto values = v(device, x);
    const auto mixed = softmax_scan(device, view(scores).permute({0, 2, 1, 3}).select(3, 0),
                                    view(values).split(2, width).permute({0, 2, 1, 3}), options.causal);
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

 private:
  static constexpr std::string_view kName = "elementwise_gated_attention";

  void check(const std::array<Index, 3>& x) const {
    require(options.num_heads > 0 && x[2] > 0 && x[2] % options.num_heads == 0, kName,
            "C must be a multiple of num_heads = ", options.num_heads, ", got x of shape ", shape_text(x));
    check_linears(kName, x[2], x[2], "q", q, "k", k, "v", v, "out", out);
  }
};

}  // namespace heed::inline HEED_ISA
