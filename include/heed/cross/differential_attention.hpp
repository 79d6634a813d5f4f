// SPDX-License-Identifier: Apache-2.0
// differential_attention: the difference of two softmaxes.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/positions.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/rotate_heads.hpp"

namespace heed::inline HEED_ISA {

/// o_h = (softmax(q1 k1^T / sqrt(D)) - lambda softmax(q2 k2^T / sqrt(D))) v for each of H heads: what both maps have in
/// common cancels. out = out(join((1 - l) rms(o_h))), l = 0.8 - 0.6 exp(-0.3 depth), lambda = exp(lambda_q1 .
/// lambda_k1) - exp(lambda_q2 . lambda_k2) + l.
///
///   heed::DifferentialAttention<float> attend{{.num_heads = 8, .depth = 3}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, N, C), D = C / (2 H). q.weight (2 H D, C): heads 2h and 2h + 1 are q1 and q2 of head h; k.weight (2 G
/// D, C): likewise, for each of G groups; v.weight (2 G D, C): G heads of width 2 D; out.weight (C, C). Head h reads
/// group floor(h G / H). lambda_q1, lambda_k1, lambda_q2, lambda_k2 (D); sub_norm.weight (2 D), shared by the heads.
/// With rope_base above 0, q and k are rotated by their positions 0 .. N - 1, in pairs of neighbouring channels. depth
/// counts layers from 0. Throws heed::Error for shapes and options that do not fit. Time of the projections and of two
/// fused attentions of H heads; no N x N memory. The same bits for any number of threads.
/// Source: Ye et al. 2025, eq. 1-3; grouped heads as in the authors' code for fused attention.
template <Real T>
struct DifferentialAttention {
  struct Options {
    Index num_heads = 1;
    Index num_kv_heads = 0;  ///< 0: num_heads
    Index depth = 0;
    double rope_base = 10000;  ///< 0: no rotation
    bool causal = true;
    double eps = 1e-5;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 1> lambda_q1 = {}, lambda_k1 = {}, lambda_q2 = {}, lambda_k2 = {};  ///< (D) each
  RmsNorm<T> sub_norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    f("lambda_q1", lambda_q1);
    f("lambda_k1", lambda_k1);
    f("lambda_q2", lambda_q2);
    f("lambda_k2", lambda_k2);
    visit_part("sub_norm.", sub_norm, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::DifferentialAttention: x is (B, N, C)");
    check(sizes_of(x)[2]);
    const auto queries = q(device, x);
    const auto keys = k(device, x);
    const auto values = v(device, x);
    if (options.rope_base == 0) return difference(device, x, queries, keys, values);
    const auto positions = position_range(0, sizes_of(x)[1]);
    const RotaryOptions rotary{.base = options.rope_base, .interleaved = true};
    const auto turned_q = rotate_heads(device, queries, 2 * options.num_heads, positions, rotary, kName);
    const auto turned_k = rotate_heads(device, keys, 2 * groups(), positions, rotary, kName);
    return difference(device, x, turned_q, turned_k, values);
  }

 private:
  static constexpr std::string_view kName = "differential_attention";

  Index groups() const { return options.num_kv_heads == 0 ? options.num_heads : options.num_kv_heads; }

  template <class D, Operand X, Operand Q, Operand K, Operand V>
  auto difference(const D& device, const X& x, const Q& queries, const K& keys, const V& values) const {
    const Index heads = options.num_heads, width = sizes_of(x)[2] / heads;  // 2 D
    const auto attend = softmax_attention(when(options.causal, causal()));
    // Head h of either map: (B, N, 2 H D) as (B, H, N, D).
    const auto of_map = [&](const auto& tokens, Index map) {
      return view(tokens).split(2, width / 2).split(2, 2).select(3, map).permute({0, 2, 1, 3});
    };
    const auto value_heads = split_heads(values, groups());
    const auto first = attend_heads(device, attend, of_map(queries, 0), of_map(keys, 0), value_heads);
    const auto second = attend_heads(device, attend, of_map(queries, 1), of_map(keys, 1), value_heads);
    const double initial = 0.8 - 0.6 * std::exp(-0.3 * double(options.depth));
    const auto weighted = multiply(device, second, lambda(device, x, initial));
    const auto mixed = subtract(device, first, weighted);
    const auto normed = rms_norm(device, view(mixed).split(2, width), sub_norm.weight, options.eps);
    const auto scaled = scale(device, normed, 1 - initial);
    return out(device, view(scaled).merge(2));
  }

  // A number, (1).
  template <class D, Operand X>
  auto lambda(const D& device, const X& x, double initial) const {
    const auto power = [&](const auto& a, const auto& b) {
      const auto products = multiply(device, parameter_with(a, x), b);
      return exp(device, sum(device, products, {0}));
    };
    Tensor<T, 1> start(1);
    start(0) = T(initial);
    const auto change = subtract(device, power(lambda_q1, lambda_k1), power(lambda_q2, lambda_k2));
    return add(device, change, constant_with(std::move(start), x));
  }

  void check(Index channels) const {
    const Index heads = options.num_heads;
    require(heads > 0 && channels > 0 && channels % (2 * heads) == 0, kName, "C = ", channels,
            " must be a multiple of 2 num_heads = ", 2 * heads);
    require(groups() > 0 && heads % groups() == 0, kName, "num_heads = ", heads,
            " must be a multiple of num_kv_heads = ", groups());
    require(options.depth >= 0, kName, "depth must be 0 or more, got ", options.depth);
    const Index width = channels / (2 * heads);
    check_linear(kName, "q", q, channels, channels);
    check_linear(kName, "k", k, channels, 2 * groups() * width);
    check_linear(kName, "v", v, channels, 2 * groups() * width);
    check_linear(kName, "out", out, channels, channels);
    for (const auto* x : {&lambda_q1, &lambda_k1, &lambda_q2, &lambda_k2})
      require(x->size() == width, kName, "lambda_q1, lambda_k1, lambda_q2 and lambda_k2 must have shape (D) = (", width,
              "), got (", x->size(), ")");
  }
};

}  // namespace heed::inline HEED_ISA
