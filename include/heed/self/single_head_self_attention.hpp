// SPDX-License-Identifier: Apache-2.0
// single_head_self_attention: one head on a part of the channels of an image, and the rest passed by.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/group_norm.hpp"
#include "heed/block/matmul.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// out = bn(out.weight ReLU([attention of x1 ; x2])), with x1 the first partial_dim channels and x2 the others.
///
///   heed::SingleHeadSelfAttention<float> mix{{.partial_dim = 48}};
///   auto y = mix(x);                                        // or mix(device, x); the caller adds x
///
/// x and out (B, C, h, w), P = partial_dim channels of it and Q = qk_dim; norm.weight and norm.bias (P), qkv.weight
/// (2Q + P, P), out.weight (C, C), and batch norms of stored statistics qkv.bn (2Q + P) and out.bn (C). With the pixels
/// as tokens:
///
/// 1. u = group norm of x1 with one group; [q ; k ; v] = qkv.bn(qkv.weight u), of Q, Q and P channels.
/// 2. o = softmax(q^T k / sqrt(Q)) v.
/// 3. out = out.bn(out.weight ReLU([o ; x2])): the ReLU is of x2 too.
///
/// P = C leaves no x2. Throws heed::Error, before anything is written, for shapes and options that do not fit. Time
/// O(n^2 (Q + P) + n C^2) for n pixels. The same bits for any number of threads.
/// Source: Yun and Ro, SHViT, CVPR 2024, section 3.2; the authors' model/shvit.py.
template <Real T>
struct SingleHeadSelfAttention {
  struct Options {
    Index partial_dim = 0;  ///< P, 1 .. C
    Index qk_dim = 16;      ///< Q
  };
  /// A 1 x 1 convolution without bias, and its batch norm.
  struct Projection {
    Tensor<T, 2> weight = {};
    BatchNorm<T> bn = {};

    template <class F>
    void for_each_parameter(F&& f) {
      f("weight", weight);
      visit_part("bn.", bn, f);
    }
    /// Of x (B, in, n).
    template <class D, Operand X>
    auto operator()(const D& device, const X& x) const {
      const auto mixed = matmul(device, view(weight).template promote<3>(), x);
      return bn(device, mixed);
    }
  };

  Options options = {};
  GroupNorm<T> norm = {};
  Projection qkv = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "norm.", norm, "qkv.", qkv, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4 && std::same_as<OperandScalar<X>, T>,
                  "heed::SingleHeadSelfAttention<T>: x is (B, C, h, w), of T");
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index part = options.partial_dim, width = options.qk_dim, pixels = sizes[2] * sizes[3];
    const auto image = contiguous(device, x);
    const auto channels = view(image).template reshape<3>({sizes[0], sizes[1], pixels});
    const auto normal = norm(device, view(channels).slice(1, 0, part));
    const auto projected = qkv(device, normal);
    // Channels of one head, (B, channels, n) as (B, 1, n, channels).
    const auto head = [&](Index first, Index count) {
      return view(projected).slice(1, first, count).split(1, count).permute({0, 1, 3, 2});
    };
    const auto attended = softmax_attention()(device, head(0, width), head(width, width), head(2 * width, part));
    const auto all = concat<1>(device, view(attended).select(1, 0).permute({0, 2, 1}),
                               view(channels).slice(1, part, sizes[1] - part));
    const auto mixed = out(device, relu(device, all));
    return contiguous(device, view(mixed).template reshape<4>(sizes));
  }

 private:
  static constexpr std::string_view kName = "single_head_self_attention";

  static void check_projection(std::string_view name, const Projection& layer, Index outputs, Index inputs) {
    const std::array<Index, 2> expected{outputs, inputs};
    require(const_view(layer.weight).sizes == expected, kName, name, ".weight must have shape ", shape_text(expected),
            ", got ", shape_text(const_view(layer.weight).sizes));
    const auto check_vector = [&](std::string_view vector, const Tensor<T, 1>& values, bool optional) {
      require(values.size() == outputs || (optional && values.size() == 0), kName, name, ".bn.", vector,
              " must have shape (", outputs, "), got (", values.size(), ")");
    };
    check_vector("weight", layer.bn.weight, true);
    check_vector("bias", layer.bn.bias, true);
    check_vector("mean", layer.bn.mean, false);
    check_vector("var", layer.bn.var, false);
  }
  void check(const std::array<Index, 4>& x) const {
    const Index part = options.partial_dim, width = options.qk_dim;
    require(part > 0 && part <= x[1], kName, "partial_dim must be in 1 .. C = ", x[1], ", got ", part);
    require(width > 0, kName, "qk_dim must be 1 or more, got ", width);
    require(
        (norm.weight.size() == 0 || norm.weight.size() == part) && (norm.bias.size() == 0 || norm.bias.size() == part),
        kName, "norm.weight and norm.bias must be empty or have shape (P) = (", part, "), got (", norm.weight.size(),
        ") and (", norm.bias.size(), ")");
    check_projection("qkv", qkv, 2 * width + part, part);
    check_projection("out", out, x[1], x[1]);
  }
};

}  // namespace heed::inline HEED_ISA
