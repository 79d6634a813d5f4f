// SPDX-License-Identifier: Apache-2.0
// tnl_attention: lightning attention as a layer of its own, with a low-rank gate.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/linear/lightning_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = (norm(o) * sigmoid(gate2(gate1(x)))) out.weight^T + out.bias, where o is the lightning attention of
/// silu(q(x)), silu(k(x)) and silu(v(x)).
///
///   heed::TnlAttention<float> mix{{.num_heads = 8}};
///   auto y = mix(x);                                        // or mix(device, x)
///
/// x and out (B, N, C); q, k, v and out (C, C); gate1 (D, C) and gate2 (C, D), D = C / H, with nothing between them;
/// biases or none; norm, a layer norm over C; slope (H), constants: lightning_slopes. Throws heed::Error for shapes and
/// options that do not fit. Time linear in N. The same bits for any number of threads.
/// Source: Qin et al. 2024, Various Lengths, Constant Speed; the module of the authors' kernel repository.
template <Real T>
struct TnlAttention {
  struct Options {
    Index num_heads = 1;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {}, gate1 = {}, gate2 = {};
  LayerNorm<T> norm = {};
  Tensor<T, 1> slope = {};  ///< (H)

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "gate1.", gate1, "gate2.", gate2, "norm.", norm);
    f("slope", slope);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    check(sizes_of(x));
    const Index heads = options.num_heads;
    const auto queries = activate(device, Silu(), q(device, x)), keys = activate(device, Silu(), k(device, x)),
               values = activate(device, Silu(), v(device, x));
    const auto mixed = LightningAttention<T>{{}, slope}(device, split_heads(queries, heads), split_heads(keys, heads),
                                                        split_heads(values, heads))
                           .out;
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    const auto normed = norm(device, view(tokens).merge(2));
    const auto gates = activate(device, Sigmoid(), gate2(device, gate1(device, x)));
    return out(device, multiply(device, normed, gates));
  }

 private:
  static constexpr std::string_view kName = "tnl_attention";

  void check(const std::array<Index, 3>& x) const {
    const Index heads = options.num_heads, channels = x[2];
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C must be a multiple of num_heads = ", heads,
            ", got x of shape ", shape_text(x));
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v, "out", out);
    check_linear(kName, "gate1", gate1, channels, channels / heads);
    check_linear(kName, "gate2", gate2, channels / heads, channels);
    require(slope.size() == heads, kName, "slope must have shape (H) = (", heads, "), got (", slope.size(), ")");
  }
};

}  // namespace heed::inline HEED_ISA
