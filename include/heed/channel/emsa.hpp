// SPDX-License-Identifier: Apache-2.0
// emsa: efficient multi-head self-attention, keys of fewer tokens and heads mixed before the softmax.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/conv_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/group_norm.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = out(concat_h(A_h v_h)), with q of x, k and v of z; z = x, or with sr_ratio s > 1 the LN of a depthwise
/// convolution of x as a map (kernel s + 1, stride s, padding s / 2). A = softmax(q k^T / sqrt(d)); with `transform`
/// and more than one head A_g = IN(softmax(sum over h of mix.weight[g, h] q_h k_h^T / sqrt(d) + mix.bias[g])), where IN
/// brings all entries of a head to mean 0 and variance 1 (eps 1e-5, never by stored statistics).
///
/// x (B, N, C) with N = height * width, out as x; all projections (C, C), their biases (C) or empty; sr.weight (C, 1,
/// s + 1, s + 1), sr.bias (C), sr_ln.{weight,bias} (C); mix.weight (H, H), mix.bias (H). Sizes need not divide by s.
/// With `transform`, v.bias and mix.bias have no effect. Throws heed::Error for shapes and options that do not fit and
/// for no tokens. Time O(B N (M + C) C), M keys, about N / s^2; with `transform` memory O(B H N M), else no N x M
/// memory. The same bits for any number of threads. Source: Zhang and Yang 2021 (ResT), section 3.1, and the authors'
/// code.
template <Real T>
struct Emsa {
  struct Options {
    Index num_heads = 8;
    Index height = 0, width = 0;  ///< of the map that the tokens make, row by row
    Index sr_ratio = 1;           ///< 1 or more
    bool transform = false;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Conv2d<T> sr = {};
  LayerNorm<T> sr_ln = {};
  Linear<T> mix = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v);
    visit_part("sr.", sr, f, heed::optional);
    visit_part("sr_ln.", sr_ln, f, heed::optional);
    visit_part("mix.", mix, f, heed::optional);
    visit_part("out.", out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::Emsa: x is (B, N, C)");
    check(sizes_of(x));
    if (options.sr_ratio == 1) return attend(device, x, x);
    const Index s = options.sr_ratio;
    const auto map = view(x).split(1, options.width).permute({0, 3, 1, 2});
    const auto fewer =
        conv_2d(device, map, sr.weight, sr.bias, {{s, s}, {s / 2, s / 2}, {1, 1}, sizes_of(x)[2]});  // (B, C, h', w')
    const auto keys = sr_ln(device, view(fewer).merge(2).permute({0, 2, 1}));
    return attend(device, x, keys);
  }

 private:
  static constexpr std::string_view kName = "emsa";

  template <Device D, Operand X, Operand Z>
  auto attend(const D& device, const X& x, const Z& z) const {
    const auto sizes = sizes_of(x);
    const Index heads = options.num_heads;
    const auto queries = q(device, x), keys = k(device, z), values = v(device, z);
    if (!options.transform || heads == 1)
      return out(device, attend_heads(device, softmax_attention(), heads, queries, keys, values));
    const auto scaled = scale(device, queries, 1 / std::sqrt(double(sizes[2] / heads)));
    const auto scores = matmul(device, split_heads(scaled, heads), split_heads(keys, heads).permute({0, 1, 3, 2}));
    const auto weights = softmax(device, conv_channels(device, scores, mix.weight, mix.bias));
    const Tensor<T, 1> none;
    const auto normal = group_norm(device, weights, heads, none, none);
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<3>(sizes);
    matmul(device, normal, split_heads(values, heads), split_heads(mixed, heads));
    return out(device, mixed);
  }

  void check(const std::array<Index, 3>& x) const {
    const Index channels = x[2], heads = options.num_heads, s = options.sr_ratio;
    require(x[1] > 0 && x[1] == options.height * options.width && options.width > 0, kName,
            "x must have N = height * width tokens with height = ", options.height, " and width = ", options.width,
            ", got shape ", shape_text(x));
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require(s > 0, kName, "sr_ratio must be 1 or more, got ", s);
    for (const auto& [name, layer] :
         {std::pair("q", &q), std::pair("k", &k), std::pair("v", &v), std::pair("out", &out)})
      check_linear(kName, name, *layer, channels, channels);
    if (options.transform && heads > 1) check_linear(kName, "mix", mix, heads, heads);
    const std::array<Index, 4> expected{channels, 1, s + 1, s + 1};
    require(s == 1 || const_view(sr.weight).sizes == expected, kName, "sr.weight must have shape ",
            shape_text(expected), ", got ", shape_text(const_view(sr.weight).sizes));
  }
};

}  // namespace heed::inline HEED_ISA
