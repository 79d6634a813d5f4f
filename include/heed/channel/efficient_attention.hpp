// SPDX-License-Identifier: Apache-2.0
// efficient_attention: attention over the positions of a map in linear time.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/two_sided_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = a 1x1 convolution of concat_h(v_h softmax_n(k_h)^T softmax_c(q_h)), plus x if `residual`: keys are normalised
/// over all positions, each channel apart, and queries over the channels of a head, each position apart. No scale.
///
/// x (B, C, h, w), out as x; q.weight and k.weight (Ck, C), v.weight (Cv, C), out.weight (C, Cv), all biases optional;
/// num_heads divides Ck and Cv, which follow from the shapes. k.bias has no effect. Throws heed::Error for shapes and
/// options that do not fit and a map without positions. Time O(B N (Ck Cv / H + C (Ck + Cv))) with N = h w; no N x N
/// memory. The same bits for any number of threads.
/// Source: Shen et al. 2021; without the residual the spatial attention of DAE-Former and TransDAE.
template <Real T>
struct EfficientAttention {
  struct Options {
    Index num_heads = 1;
    bool residual = true;
  };

  Options options = {};
  ConvChannels<T> q = {}, k = {}, v = {}, out = {};

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
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    const Index heads = options.num_heads, width = q.weight.dimension(0), value_width = v.weight.dimension(0);
    require_parameter(kName, "q.weight", q.weight, {-1, sizes[1]});
    require_parameter(kName, "k.weight", k.weight, {width, sizes[1]});
    require_parameter(kName, "v.weight", v.weight, {-1, sizes[1]});
    require_parameter(kName, "out.weight", out.weight, {sizes[1], value_width});
    require(heads > 0 && width % heads == 0 && value_width % heads == 0, kName, "num_heads = ", heads,
            " must divide the key channels, ", width, ", and the value channels, ", value_width);
    const auto queries = q(device, x), keys = k(device, x), values = v(device, x);
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<4>({sizes[0], value_width, sizes[2], sizes[3]});
    const auto rows = [&](const auto& y) { return view(y).merge(2).split(1, sizes_of(y)[1] / heads); };
    two_sided_attention(device, rows(queries), rows(keys), rows(values), rows(mixed));
    auto result = out(device, mixed);
    if (!options.residual) return result;
    return add(device, result, x);
  }

 private:
  static constexpr std::string_view kName = "efficient_attention";
};

}  // namespace heed::inline HEED_ISA
