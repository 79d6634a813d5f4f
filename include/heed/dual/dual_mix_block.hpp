// SPDX-License-Identifier: Apache-2.0
// dual_mix_block: a decoder layer of tokens that read a map and a map that reads them.
#pragma once

#include "heed/block/mlp.hpp"
#include "heed/dual/dual_mix_attention.hpp"

namespace heed::inline HEED_ISA {

/// (a, f) = mix(tokens, x, pos), a DualMixAttention; tokens_out = ln(fc2(gelu(fc1(a)))) + tokens; x_out = x + back(f +
/// pos, a, a), as a map.
///
///   heed::DualMixBlock<float> block;
///   auto [tokens, x] = block(tokens, x, pos);
///
/// tokens (B, T, C), x and pos (B, C, h, w), both come back in their shapes; mix.* as there, mlp.fc1.weight (M, C),
/// mlp.fc2.weight (C, M), ln (C), back.{q,k,v}.weight (I, C), back.out.weight (C, I), biases or none. All attentions
/// have mix.options.num_heads heads. Of one token every position gets the same. Throws heed::Error for shapes and
/// options that do not fit and a map without positions. Time O(B T h w I) beside that of mix. The same bits for any
/// number of threads. Source: QTSeg 2024, the authors' code.
template <Real T>
struct DualMixBlock {
  template <class Tokens, class Map>
  struct Result {
    Tokens tokens;
    Map x;
  };

  DualMixAttention<T> mix = {};
  Mlp<T> mlp = {};
  LayerNorm<T> ln = {};
  ProjectedAttention<T> back = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "mix.", mix, "mlp.", mlp, "ln.", ln, "back.", back);
  }

  template <Operand Z, Operand X, Operand P>
  auto operator()(const Z& tokens, const X& x, const P& pos) const {
    return (*this)(DeviceRef(), tokens, x, pos);
  }
  template <Device D, Operand Z, Operand X, Operand P>
  auto operator()(const D& device, const Z& tokens_like, const X& x_like, const P& pos_like) const {
    static_assert(kOperandRank<X> == 4, "heed::DualMixBlock: x is (B, C, h, w)");
    const Index channels = sizes_of(x_like)[1], width = sizes_of(x_like)[3], heads = mix.options.num_heads;
    check_linear(kName, "mlp.fc1", mlp.fc1, channels, mlp.fc1.weight.dimension(0));
    check_linear(kName, "mlp.fc2", mlp.fc2, mlp.fc1.weight.dimension(0), channels);
    back.check(kName, "back.", channels, channels, heads);
    const auto tokens = parameter_with(tokens_like, x_like, pos_like);
    const auto x = parameter_with(x_like, tokens);
    const auto pos = parameter_with(pos_like, tokens);
    const auto mixed = mix(device, tokens, x, pos);
    const auto normal = ln(device, mlp(device, Gelu(), mixed.tokens));
    auto tokens_out = add(device, normal, tokens);
    const auto queries = add(device, view(mixed.x).split(1, width).permute({0, 3, 1, 2}), pos);
    const auto read =
        back(device, softmax_attention(), heads, view(queries).merge(2).permute({0, 2, 1}), mixed.tokens, mixed.tokens);
    auto x_out = add(device, view(read).split(1, width).permute({0, 3, 1, 2}), x);
    return Result<decltype(tokens_out), decltype(x_out)>{std::move(tokens_out), std::move(x_out)};
  }

 private:
  static constexpr std::string_view kName = "dual_mix_block";
};

}  // namespace heed::inline HEED_ISA
