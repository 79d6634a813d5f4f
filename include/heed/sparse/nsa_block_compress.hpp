// SPDX-License-Identifier: Apache-2.0
// nsa_block_compress: the learned compression of native sparse attention.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out_i = relu(flatten(x_i + position) hidden.weight + hidden.bias) out.weight + out.bias for the windows x_i of
/// block_size tokens, `stride` apart, each head with its own parameters.
///
///   heed::NsaBlockCompress<float> compress{{.block_size = 32, .stride = 16}};
///   auto k_cmp = compress(k);                               // or compress(device, k)
///
/// x (B, H, T, D), out (B, H, W, D), W = floor((T - block_size) / stride) + 1, 0 for T < block_size. position (H, l, D)
/// with l = block_size; hidden.weight (H, l D, F), hidden.bias (H, F); out.weight (H, F, D), out.bias (H, D): they
/// multiply from the right, windows are flattened position by position. Keys and values have parameters of their own.
/// Throws heed::Error for shapes and options that do not fit. Time O(B H W l D F).
/// Source: Yuan et al. 2025, Native Sparse Attention; GroupedMLP of lucidrains/native-sparse-attention-pytorch on the
/// paper's windows.
template <Real T>
struct NsaBlockCompress {
  struct Options {
    Index block_size = 32;  ///< l, 1 or more
    Index stride = 16;      ///< d, 1 or more
  };

  Options options = {};
  Tensor<T, 3> position = {};
  Tensor<T, 3> hidden = {};       ///< hidden.weight
  Tensor<T, 2> hidden_bias = {};  ///< hidden.bias
  Tensor<T, 3> out = {};          ///< out.weight
  Tensor<T, 2> out_bias = {};     ///< out.bias

  template <class F>
  void for_each_parameter(F&& f) {
    f("position", position);
    f("hidden.weight", hidden);
    f("hidden.bias", hidden_bias);
    f("out.weight", out);
    f("out.bias", out_bias);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::NsaBlockCompress: x is (B, H, T, D)");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index length = options.block_size;
    const Index windows = sizes[2] < length ? 0 : (sizes[2] - length) / options.stride + 1;
    Tensor<std::int32_t, 3> tokens(sizes[0], sizes[1], windows * length);
    for (Index i = 0; i < tokens.size(); ++i) {
      const Index at = i % std::max<Index>(1, windows * length);
      tokens.data()[i] = std::int32_t(at / length * options.stride + at % length);
    }
    const auto each_head = [](const auto& parameter) { return parameter.split(0, 1).template promote<4>(); };
    const auto gathered = gather(device, x, tokens);
    const auto placed = add(device, view(gathered).split(2, length),
                            parameter_with(position, x).split(1, length).template promote<5>());
    const auto flat = view(placed).merge(3);
    const auto inner = matmul(device, flat, parameter_with(hidden, x).template promote<4>());
    const auto active = relu(device, add(device, inner, each_head(parameter_with(hidden_bias, x))));
    const auto made = matmul(device, active, parameter_with(out, x).template promote<4>());
    return add(device, made, each_head(parameter_with(out_bias, x)));
  }

 private:
  static constexpr std::string_view kName = "nsa_block_compress";

  void check(const std::array<Index, 4>& x) const {
    require(options.block_size > 0 && options.stride > 0, kName, "block_size and stride must be 1 or more, got ",
            options.block_size, " and ", options.stride);
    const Index heads = x[1], width = x[3], inner = hidden.dimension(2);
    require_shape(kName, "position", const_view(position).sizes,
                  std::array<Index, 3>{heads, options.block_size, width});
    require_shape(kName, "hidden.weight", const_view(hidden).sizes,
                  std::array<Index, 3>{heads, options.block_size * width, inner});
    require_shape(kName, "hidden.bias", const_view(hidden_bias).sizes, std::array<Index, 2>{heads, inner});
    require_shape(kName, "out.weight", const_view(out).sizes, std::array<Index, 3>{heads, inner, width});
    require_shape(kName, "out.bias", const_view(out_bias).sizes, std::array<Index, 2>{heads, width});
  }
};

}  // namespace heed::inline HEED_ISA
