// SPDX-License-Identifier: Apache-2.0
// position_attention: self-attention over the positions of a map, beside the map itself.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/heads.hpp"

namespace heed::inline HEED_ISA {

/// out = gamma * (softmax(q^T k) v) + x, with the softmax over all positions and no scale; q, k and v are 1x1
/// convolutions of x.
///
/// x (B, C, h, w), out as x; q.weight and k.weight (R, C), v.weight (C, C), their biases (R), (R) and (C), or empty;
/// gamma (1), 0 at the start of the authors' training. R follows from the shapes (the paper: C / 8) and must not be 0.
/// k.bias has no effect. Throws heed::Error for shapes that do not fit and a map without positions. Time
/// O(B N^2 C) with N = h w; no N x N memory. The same bits for any number of threads.
/// Source: Fu et al. 2019 (DANet), the position attention module; reused by Sinha and Dolz 2020.
template <Real T>
struct PositionAttention {
  ConvChannels<T> q = {}, k = {}, v = {};
  Tensor<T, 1> gamma = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v);
    f("gamma", gamma);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    require_parameter(kName, "q.weight", q.weight, {-1, sizes[1]});
    require_parameter(kName, "k.weight", k.weight, {q.weight.dimension(0), sizes[1]});
    require_parameter(kName, "v.weight", v.weight, {sizes[1], sizes[1]});
    require_parameter(kName, "gamma", gamma, {1});
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<4>(sizes);
    const auto queries = q(device, x), keys = k(device, x), values = v(device, x);
    softmax_attention(SoftmaxOptions{.scale = 1.0})(device, split_map_heads(queries, 1), split_map_heads(keys, 1),
                                                    split_map_heads(values, 1), into(split_map_heads(mixed, 1)));
    return multiply_add(device, mixed, gamma, x);
  }

 private:
  static constexpr std::string_view kName = "position_attention";
};

}  // namespace heed::inline HEED_ISA
