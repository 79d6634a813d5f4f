// SPDX-License-Identifier: Apache-2.0
// transformer_xl_attention: attention by content and by sinusoidal distance, over a segment and the states before it.
#pragma once

#include <cmath>

#include "heed/attention/heads.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/relative_shift.hpp"

namespace heed::inline HEED_ISA {

/// Attention of z = [mem ; x] with s_ij = ((q_i + content.bias) . k_j + (q_i + position.bias) . r_d) / sqrt(D), d = p_i
/// - j, for j <= p_i.
///
///   heed::TransformerXlAttention<float> attend{{.num_heads = 8, .head_dim = 64}};
///   auto y = attend(x);                                     // or attend(device, x, mem)
///
/// x (B, N, C); mem (B, Lm, C), states of the segment before, or left out; out (B, N, C), before residual and norm;
/// p_i = i + Lm. r_d = r.weight R(d), R(d) = [sin(d w_c) ; cos(d w_c)] with w_c = 10000^(-2 c / C), c < C / 2, all
/// sines first; with clamp_len > 0 distances beyond it count as clamp_len. q.weight, k.weight, v.weight, r.weight (H D,
/// C), out.weight (C, H D), content.bias and position.bias (H, D). The paper's layers have no other biases; those that
/// are given are added. head_dim is free of C / num_heads; C must be even.
///
/// Throws heed::Error for shapes and options that do not fit. Time of five products, of softmax_attention and of the
/// position scores, O(B N (Lm + N) H D); memory B H N (Lm + N) for those. Source: Dai et al. 2019, section 3.3 and
/// appendix B.
template <Real T>
struct TransformerXlAttention {
  struct Options {
    Index num_heads = 1;
    Index head_dim = 1;
    Index clamp_len = -1;  ///< tokens; 0 and less: none
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, r = {}, out = {};
  Tensor<T, 2> content_bias = {};   ///< content.bias, (H, D)
  Tensor<T, 2> position_bias = {};  ///< position.bias, (H, D)

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "r.", r, "out.", out);
    f("content.bias", content_bias);
    f("position.bias", position_bias);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Operand X, Operand Z>
  auto operator()(const X& x, const Z& mem) const {
    return (*this)(DeviceRef(), x, mem);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return run(device, view(x), view(x));
  }
  template <Device D, Operand X, Operand Z>
  auto operator()(const D& device, const X& x_like, const Z& mem) const {
    check_memory(kName, sizes_of(x_like), sizes_of(mem));
    const auto x = parameter_with(x_like, mem);
    const auto z = concat<1>(device, mem, x);
    return run(device, x, view(z));
  }

 private:
  static constexpr std::string_view kName = "transformer_xl_attention";

  template <class D, class X, class Z>
  auto run(const D& device, const X& x, const Z& z) const {
    static_assert(kOperandRank<X> == 3, "heed::TransformerXlAttention: x is (B, N, C)");
    const Index keys = sizes_of(z)[1], heads = options.num_heads;
    check(sizes_of(x)[2]);
    const auto q_flat = q(device, x);
    const auto k_flat = k(device, z);
    const auto v_flat = v(device, z);
    // Row c has the distance M - c: see relative_shift.
    const auto codes = constant_with(distance_codes(keys, sizes_of(x)[2]), x);
    const auto rows = linear(device, codes, parameter_with(r.weight, x), parameter_with(r.bias, x));
    const auto by_distance = split_heads(view(rows).template promote<3>(), heads).permute({0, 1, 3, 2});
    const auto by_head = [&](const Tensor<T, 2>& bias) { return view(bias).split(0, 1).template promote<4>(); };
    const auto q_content = add(device, split_heads(q_flat, heads), by_head(content_bias));
    const auto q_position = add(device, split_heads(q_flat, heads), by_head(position_bias));
    const auto relative = matmul(device, q_position, by_distance);
    const double scale = 1 / std::sqrt(double(options.head_dim));
    const auto attend =
        softmax_attention(bias(relative_shift(relative, keys)) | scale_by(scale), causal(), {.scale = 1});
    return out(device, attend_heads(device, attend, q_content, split_heads(k_flat, heads), split_heads(v_flat, heads)));
  }

  // (M + 1, C), of the distances M .. 0.
  Tensor<T, 2> distance_codes(Index farthest, Index channels) const {
    Tensor<T, 2> codes(farthest + 1, channels);
    for (Index row = 0; row <= farthest; ++row)
      for (Index c = 0; c < channels / 2; ++c) {
        Index distance = farthest - row;
        if (options.clamp_len > 0) distance = std::min(distance, options.clamp_len);
        const double angle = double(distance) * std::pow(10000.0, -2 * double(c) / double(channels));
        codes(row, c) = T(std::sin(angle));
        codes(row, channels / 2 + c) = T(std::cos(angle));
      }
    return codes;
  }

  void check(Index channels) const {
    require(options.num_heads > 0 && options.head_dim > 0, kName, "num_heads and head_dim must be 1 or more, got ",
            options.num_heads, " and ", options.head_dim);
    require(channels > 0 && channels % 2 == 0, kName, "C must be even, got ", channels);
    const Index inner = options.num_heads * options.head_dim;
    check_linears(kName, channels, inner, "q", q, "k", k, "v", v, "r", r);
    check_linear(kName, "out", out, inner, channels);
    const std::array<Index, 2> by_head{options.num_heads, options.head_dim};
    require_shape(kName, "content.bias", const_view(content_bias).sizes, by_head);
    require_shape(kName, "position.bias", const_view(position_bias).sizes, by_head);
  }
};

}  // namespace heed::inline HEED_ISA
