// SPDX-License-Identifier: Apache-2.0
// multiview_transformer_branch: electrodes as tokens, whole time series as their embedding, and a projector.
#pragma once

#include <string>
#include <vector>

#include "heed/attention/projected_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

/// For each layer x = ln1(x + attention(x)), then x = ln2(x + fc2(relu(fc1(x)))); out is what the last one gives, and
/// z = tanh(head.fc2(relu(head.ln(head.fc1(out in row-major order))))).
///
///   heed::MultiviewTransformerBranch<float> branch({.num_heads = 2, .num_layers = 1});
///   auto [out, z] = branch(x);
///
/// x (B, N, C), N electrodes and C samples; out as x, z (B, P2). layer{i}.{q,k,v,out}.weight (C, C), .{ln1,ln2} (C),
/// .fc1.weight (F, C), .fc2.weight (C, F) with F = max(2 C, 128) in the paper; head.fc1.weight (P1, N C), head.ln (P1),
/// head.fc2.weight (P2, P1); biases of their widths, or none. C is a multiple of num_heads, scale 1 / sqrt(C /
/// num_heads). Throws heed::Error for shapes and options that do not fit. Time O(B (N^2 C + N C^2)) a layer. The same
/// bits for any number of threads. Source: Wang et al. 2025 (MVCNet), the authors' code.
template <Real T>
struct MultiviewTransformerBranch {
  struct Options {
    Index num_heads = 2;
    Index num_layers = 1;  ///< 1 or more
  };
  struct Layer {
    ProjectedAttention<T> attention = {};
    LayerNorm<T> ln1 = {}, ln2 = {};
    Mlp<T> mlp = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "", attention, "ln1.", ln1, "", mlp, "ln2.", ln2);
    }
    template <Device D, Operand X>
    auto operator()(const D& device, Index heads, const X& x) const {
      const auto seen = add(device, x, attention(device, softmax_attention(), heads, x, x, x));
      const auto y = ln1(device, seen);
      return ln2(device, add(device, y, mlp(device, Relu(), y)));
    }
  };
  template <class Out, class Z>
  struct Result {
    Out out;
    Z z;
  };

  Options options;
  std::vector<Layer> layer;  ///< as many as num_layers
  Linear<T> head_fc1 = {}, head_fc2 = {};
  LayerNorm<T> head_ln = {};

  explicit MultiviewTransformerBranch(const Options& o = {}) : options(o) {
    require(o.num_heads > 0 && o.num_layers > 0, kName, "num_heads and num_layers must be 1 or more, got ", o.num_heads,
            " and ", o.num_layers);
    layer.resize(std::size_t(o.num_layers));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < layer.size(); ++i) visit_part("layer" + std::to_string(i) + ".", layer[i], f);
    visit_parts(f, "head.fc1.", head_fc1, "head.ln.", head_ln, "head.fc2.", head_fc2);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MultiviewTransformerBranch: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    check(sizes);
    auto out = layer[0](device, options.num_heads, x);
    for (std::size_t i = 1; i < layer.size(); ++i) out = layer[i](device, options.num_heads, out);
    const auto hidden = head_fc1(device, view(out).template reshape<2>({sizes[0], sizes[1] * sizes[2]}));
    const auto active = relu(device, head_ln(device, hidden));
    auto z = tanh(device, head_fc2(device, active));
    return Result<decltype(out), decltype(z)>{std::move(out), std::move(z)};
  }

 private:
  static constexpr std::string_view kName = "multiview_transformer_branch";

  void check(const std::array<Index, 3>& x) const {
    const Index channels = x[2], width = head_fc1.weight.dimension(0);
    require(channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    for (std::size_t i = 0; i < layer.size(); ++i) {
      const std::string prefix = "layer" + std::to_string(i) + ".";
      const Index hidden = layer[i].mlp.fc1.weight.dimension(0);
      layer[i].attention.check(kName, prefix, channels, channels, options.num_heads);
      check_linear(kName, prefix + "fc1", layer[i].mlp.fc1, channels, hidden);
      check_linear(kName, prefix + "fc2", layer[i].mlp.fc2, hidden, channels);
    }
    check_linear(kName, "head.fc1", head_fc1, x[1] * channels, width);
    check_linear(kName, "head.fc2", head_fc2, width, head_fc2.weight.dimension(0));
  }
};

}  // namespace heed::inline HEED_ISA
