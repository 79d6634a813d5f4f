// SPDX-License-Identifier: Apache-2.0
// spatial_reduction_attention: attention over the positions of a map whose keys come from a strided convolution.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/group_norm.hpp"
#include "heed/block/heads.hpp"

namespace heed::inline HEED_ISA {

/// out = out(concat_h(softmax(q_h^T (k_h + p) / sqrt(d)) v_h)), q of x, k and v of z; z = x, or with sr_ratio s > 1 the
/// LN over the channels of a convolution of x with kernel and stride s. p at key (r, c) is pos_row at r + pos_col at c,
/// if they are there. All maps are 1x1 convolutions.
///
/// x (B, C, h, w), out as x; q, k and v.weight (C, C), out.{weight,bias} (C, C), (C); sr.weight (C, C, s, s), sr.bias
/// (C), sr_ln.{weight,bias} (C); pos_row (H, d, h') and pos_col (H, d, w') or both empty, with h' = h / s and w' = w /
/// s, rounded down: rows and columns beyond the last cell give no keys. (The authors swap the two sizes, which is right
/// for square maps alone.) Throws heed::Error for shapes and options that do not fit and a map without keys. Time
/// O(B N^2 C / s^2 + B N C^2) with N = h w; no N x M memory. The same bits for any number of threads.
/// Source: Yu et al. 2022 (FE-LSD), after Guo et al. 2022 (CMT).
template <Real T>
struct SpatialReductionAttention {
  struct Options {
    Index num_heads = 8;
    Index sr_ratio = 1;  ///< 1 or more
  };

  Options options = {};
  ConvChannels<T> q = {}, k = {}, v = {}, out = {};
  Conv2d<T> sr = {};
  LayerNorm<T> sr_ln = {};
  Tensor<T, 3> pos_row = {}, pos_col = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    visit_part("sr.", sr, f, heed::optional);
    visit_part("sr_ln.", sr_ln, f, heed::optional);
    f("pos_row", pos_row, heed::optional);
    f("pos_col", pos_col, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    check(sizes_of(x));
    if (options.sr_ratio == 1) return attend(device, x, x);
    const Index s = options.sr_ratio;
    const auto fewer = conv_2d(device, x, sr.weight, sr.bias, {.stride = {s, s}});
    return attend(device, x, layer_norm_channels(device, fewer, sr_ln.weight, sr_ln.bias, sr_ln.eps));
  }

 private:
  static constexpr std::string_view kName = "spatial_reduction_attention";

  template <Device D, Operand X, Operand Z>
  auto attend(const D& device, const X& x, const Z& z) const {
    const auto queries = q(device, x), keys = k(device, z), values = v(device, z);
    if (pos_row.size() == 0) return mix(device, queries, keys, values);
    // Rows (C, h', 1) and columns (C, 1, w').
    const auto by_row = add(device, keys, const_view(pos_row).merge(0).split(1, 1));
    return mix(device, queries, add(device, by_row, const_view(pos_col).merge(0).split(0, 1)), values);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto mix(const D& device, const Q& queries, const K& keys, const V& values) const {
    const Index heads = options.num_heads;
    auto&& space = intermediates<T>(kName, queries);
    const auto mixed = space.template make<4>(sizes_of(queries));
    softmax_attention()(device, split_map_heads(queries, heads), split_map_heads(keys, heads),
                        split_map_heads(values, heads), into(split_map_heads(mixed, heads)));
    return out(device, mixed);
  }

  void check(const std::array<Index, 4>& x) const {
    const Index channels = x[1], heads = options.num_heads, s = options.sr_ratio;
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require(s > 0 && x[2] >= s && x[3] >= s, kName, "sr_ratio must be in 1 .. the size of the map, got ", s,
            " for x of shape ", shape_text(x));
    for (const auto& [name, layer] : {std::pair("q.weight", &q), std::pair("k.weight", &k), std::pair("v.weight", &v),
                                      std::pair("out.weight", &out)})
      require_parameter(kName, name, layer->weight, {channels, channels});
    if (s > 1) require_parameter(kName, "sr.weight", sr.weight, {channels, channels, s, s});
    if (pos_row.size() + pos_col.size() == 0) return;
    require_parameter(kName, "pos_row", pos_row, {heads, channels / heads, x[2] / s});
    require_parameter(kName, "pos_col", pos_col, {heads, channels / heads, x[3] / s});
  }
};

}  // namespace heed::inline HEED_ISA
