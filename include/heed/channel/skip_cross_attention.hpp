// SPDX-License-Identifier: Apache-2.0
// skip_cross_attention: the map from below, mixed as the skip feature says.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/two_sided_attention.hpp"
#include "heed/channel/mix_ffn.hpp"

namespace heed::inline HEED_ISA {

/// out = t + MixFfn(ln2(t)), t = [x1, x2] + out_ln(out(attention)): two_sided_attention whose queries and keys are
/// ln1(x2) and whose values are ln1(x1).
///
///   heed::SkipCrossAttention<float> skip{{.height = 14, .width = 14}};
///   auto y = skip(from_below, from_encoder);
///
/// x1, the values, and x2, queries and keys, (B, N, C) with N = height * width; out (B, N, 2 C); ln1 (C), for both;
/// out.weight (2 C, C), out_ln and ln2 (2 C), mlp.* as MixFfn on 2 C channels (the paper: F = 4 C). C is a multiple of
/// num_heads. There are no projections before the attention. Throws heed::Error for shapes and options that do not fit.
/// Time O(B N C^2), linear in N. The same bits for any number of threads. Source: Azad et al. 2023 (DAE-Former), the
/// authors' code.
template <Real T>
struct SkipCrossAttention {
  struct Options {
    Index height = 1, width = 1;
    Index num_heads = 1;
  };

  Options options = {};
  LayerNorm<T> ln1 = {}, out_ln = {}, ln2 = {};
  Linear<T> out = {};
  MixFfn<T> mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "ln1.", ln1, "out.", out, "out_ln.", out_ln, "ln2.", ln2, "mlp.", mlp);
  }

  template <Operand X1, Operand X2>
  auto operator()(const X1& x1, const X2& x2) const {
    return (*this)(DeviceRef(), x1, x2);
  }
  template <Device D, Operand X1, Operand X2>
  auto operator()(const D& device, const X1& x1_like, const X2& x2_like) const {
    require_tokens_of(kName, "x1", x1_like, options.height, options.width);
    require_shape(kName, "x2", sizes_of(x2_like), sizes_of(x1_like));
    const Index channels = sizes_of(x1_like)[2], heads = options.num_heads;
    check_linear(kName, "out", out, channels, 2 * channels);
    mlp.check(kName, "mlp.", 2 * channels);
    const auto x1 = parameter_with(x1_like, x2_like);
    const auto x2 = parameter_with(x2_like, x1_like);
    const auto a = ln1(device, x1);
    const auto b = ln1(device, x2);
    auto&& space = intermediates<T>(kName, x1);
    const auto mixed = space.template make<3>(sizes_of(x1));
    const auto rows = [&](const auto& x) { return split_heads(x, heads).permute({0, 1, 3, 2}); };
    two_sided_attention(device, rows(b), rows(b), rows(a), rows(mixed));
    const auto t = add(device, concat<2>(device, x1, x2), out_ln(device, out(device, mixed)));
    return add(device, t, mlp(device, ln2(device, t), options.width));
  }

 private:
  static constexpr std::string_view kName = "skip_cross_attention";
};

}  // namespace heed::inline HEED_ISA
