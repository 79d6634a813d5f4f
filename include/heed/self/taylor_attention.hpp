// SPDX-License-Identifier: Apache-2.0
// taylor_attention: the softmax's exponential replaced by the beginning of its series, in linear time.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/scan/linear_attention.hpp"

namespace heed::inline HEED_ISA {

/// out_i = sum over j <= i of a_ij v_j / sum over j <= i of a_ij for each head, through an output projection, with
/// a_ij = 1 + s_ij + s_ij^2 / 2 and s_ij = q_i . k_j / sqrt(D) of the projections q, k and v.
///
///   heed::TaylorAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C); all weights (C, C), all biases (C), or empty. Head h has the channels h D .. h D + D - 1, and C
/// is a multiple of num_heads. Without causal the sums run over all tokens. a_ij is at least 1/2, so that no row is
/// without weights. Throws heed::Error for shapes and options that do not fit. Time O(B N C^2) for the projections and,
/// for each head, the smaller of O(N^2 D) and O(N D^3), see linear_attention; no matrix of N x N. The same bits for any
/// number of threads.
/// Source: Xue, Moosavi and Aletras 2025, Deconstructing Attention, eq. 6 (the "approximate" variant, with one
/// normaliser for all orders, unlike the recurrence of its appendix); transcription.
template <Real T>
struct TaylorAttention {
  struct Options {
    Index num_heads = 1;
    bool causal = true;
    LinearForm form = LinearForm::kAuto;  ///< all give the same to rounding
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
    static_assert(kOperandRank<X> == 3, "heed::TaylorAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index width = sizes[2] / options.num_heads;
    const auto heads = [width](const auto& y) { return view(y).split(2, width).permute({0, 2, 1, 3}); };
    const auto queries = q(device, x), keys = k(device, x), values = v(device, x);
    // The normaliser is the attention of ones, a column behind those of the values.
    auto ones = make_output<T, 4>(kName, {1, 1, 1, 1}, x);
    fill(device, ones, 1);
    const auto sums =
        linear_attention(device, TaylorFeatures{1 / std::sqrt(double(width))}, heads(queries), heads(keys),
                         concat<3>(device, heads(values), ones), {.causal = options.causal, .form = options.form});
    const auto mixed = divide(device, view(sums).slice(3, 0, width), view(sums).slice(3, width, 1));
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

 private:
  static constexpr std::string_view kName = "taylor_attention";

  void check(const std::array<Index, 3>& x) const {
    require(options.num_heads > 0 && x[2] > 0 && x[2] % options.num_heads == 0, kName,
            "C must be a multiple of num_heads = ", options.num_heads, ", got x of shape ", shape_text(x));
    check_linears(kName, x[2], x[2], "q", q, "k", k, "v", v, "out", out);
  }
};

}  // namespace heed::inline HEED_ISA
