// SPDX-License-Identifier: Apache-2.0
// double_attention: descriptors gathered by a softmax over positions and handed out by one over descriptors.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/two_sided_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = a 1x1 convolution of Z = G softmax_n(q), with G = v softmax_N(k)^T: the softmax of k is over all positions,
/// one for each descriptor, that of q over the descriptors, at each position. The paper's maps A, B and V are v, k and
/// q.
///
/// x (B, C, h, w), out as x, or Z (B, c_m, h, w) without `reconstruct`; v.weight (c_m, C), k.weight and q.weight (c_n,
/// C), out.weight (C, c_m), all biases optional; c_m and c_n (the paper: C / 4 each) follow from the shapes. Throws
/// heed::Error for shapes that do not fit and a map without positions. Time O(B N (c_m c_n + C (c_m + c_n))) with
/// N = h w; no N x N memory. The same bits for any number of threads. Source: Chen et al. 2018 (A2-Nets), section 3.
template <Real T>
struct DoubleAttention {
  struct Options {
    bool reconstruct = true;  ///< back to C channels
  };

  Options options = {};
  ConvChannels<T> v = {}, k = {}, q = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "v.", v, "k.", k, "q.", q);
    if (options.reconstruct) {
      visit_part("out.", out, f);
    } else {
      visit_part("out.", out, f, heed::optional);
    }
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    const Index width = v.weight.dimension(0);
    require_parameter(kName, "v.weight", v.weight, {-1, sizes[1]});
    require_parameter(kName, "k.weight", k.weight, {-1, sizes[1]});
    require_parameter(kName, "q.weight", q.weight, {k.weight.dimension(0), sizes[1]});
    if (options.reconstruct) require_parameter(kName, "out.weight", out.weight, {sizes[1], width});
    const auto values = v(device, x), keys = k(device, x), queries = q(device, x);
    auto mixed = make_output<T, 4>(kName, {sizes[0], width, sizes[2], sizes[3]}, x);
    const auto rows = [](auto& y) { return view(y).merge(2).split(1, sizes_of(y)[1]); };
    two_sided_attention(device, rows(queries), rows(keys), rows(values), rows(mixed));
    if (!options.reconstruct) return mixed;
    return out(device, mixed);
  }

 private:
  static constexpr std::string_view kName = "double_attention";
};

}  // namespace heed::inline HEED_ISA
