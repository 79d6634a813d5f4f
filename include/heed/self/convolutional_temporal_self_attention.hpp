// SPDX-License-Identifier: Apache-2.0
// convolutional_temporal_self_attention: frames mixed as whole maps, by how alike their descriptors are.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/conv_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed {

/// Which frames are queries.
enum class FrameQuery { kLast, kAll };

inline namespace HEED_ISA {

/// out_n = for each head sum over the frames t of weights(n, t) F_t, weights = softmax over t of beta_n cos(z_n, z_t),
/// where F_t = conv(x_t), z_t = [mean of F_t over its positions, position code of t] and beta_n = softplus(
/// beta.weight . z_n + beta.bias).
///
///   heed::ConvolutionalTemporalSelfAttention<float> mix{{.num_heads = 4}};
///   auto y = mix(x).out;
///
/// x (B, T, C, h, w), frames in their order; out (B, Q, H Dh, h, w), weights (B, H, Q, T), Q = 1 (the last frame) or T.
/// conv.weight (H Dh, C), conv.bias (H Dh) or empty; beta.weight (H, Dh + P), beta.bias (H). The code of frame t is
/// [sin(t / f_0), cos(t / f_0), ..] with f_c = 10000^(2 c / P), c < P / 2. All frames see all others.
///
/// Throws heed::Error for shapes and options that do not fit, no frames and maps without positions. Time of the
/// convolution, of Q T maps read for each head, and O(B H Q T (Dh + P)). The same bits for any number of threads.
/// Source: our reading of Feng et al. 2021 (CT-D2GAN), whose code was not available; how beta comes about is ours.
template <Real T>
struct ConvolutionalTemporalSelfAttention {
  struct Options {
    Index num_heads = 4;
    Index position_dim = 8;  ///< P, even, 2 or more
    FrameQuery query = FrameQuery::kLast;
  };
  template <class Out, class Weights>
  struct Result {
    Out out;
    Weights weights;
  };

  Options options = {};
  ConvChannels<T> conv = {};
  Linear<T> beta = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "conv.", conv, "beta.", beta);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x_like) const {
    static_assert(kOperandRank<X> == 5, "heed::ConvolutionalTemporalSelfAttention: x is (B, T, C, h, w)");
    const auto sizes = sizes_of(x_like);
    check(sizes);
    const Index batch = sizes[0], frames = sizes[1], positions = sizes[3] * sizes[4], heads = options.num_heads;
    const Index width = conv.weight.dimension(0) / heads;
    const auto x = contiguous(device, x_like);
    const auto maps = conv(device, view(x).merge(0));  // (B T, H Dh, h, w)
    const auto pooled = mean(device, view(maps).merge(2), {2});
    const auto codes = constant_with(position_codes(frames), pooled);
    // (B, H, T, Dh + P).
    const auto z =
        concat<3>(device, view(pooled).template reshape<4>({batch, frames, heads, width}).permute({0, 2, 1, 3}),
                  view(codes).template promote<4>());
    const auto square = pointwise_sum(ProductOf(), device, {3}, z, z);
    // No shorter than 1: the codes have a sine and a cosine of one angle.
    const auto unit = multiply(device, z, activate(device, InverseSqrt(), square));

    const Index queries = options.query == FrameQuery::kLast ? 1 : frames;
    const auto of_queries = [&](const auto& all) { return view(all).slice(2, frames - queries, queries); };
    const auto weight = parameter_with(beta.weight, x);
    const auto bias = parameter_with(beta.bias, x);
    // beta.weight as (1, H, 1, Dh + P), beta.bias as (1, H, 1, 1).
    const auto product =
        pointwise_sum(ProductOf(), device, {3}, of_queries(z), weight.split(0, 1).template promote<4>());
    const auto temperature = softplus(device, add(device, product, bias.split(0, 1).split(1, 1).template promote<4>()));
    const auto sharpened = multiply(device, of_queries(unit), temperature);
    auto weights = softmax(device, matmul(device, sharpened, view(unit).permute({0, 1, 3, 2})));

    const auto values = view(maps).template reshape<4>({batch, frames, heads, width * positions}).permute({0, 2, 1, 3});
    const auto mixed = matmul(device, weights, values);  // (B, H, Q, Dh h w)
    const auto joined = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    auto out =
        contiguous(device, view(joined).template reshape<5>({batch, queries, heads * width, sizes[3], sizes[4]}));
    return Result<decltype(out), decltype(weights)>{std::move(out), std::move(weights)};
  }

 private:
  static constexpr std::string_view kName = "convolutional_temporal_self_attention";

  Tensor<T, 2> position_codes(Index frames) const {
    Tensor<T, 2> codes(frames, options.position_dim);
    for (Index t = 0; t < frames; ++t)
      for (Index c = 0; c < options.position_dim; c += 2) {
        const double angle = double(t) * std::pow(10000.0, -double(c) / double(options.position_dim));
        codes(t, c) = T(std::sin(angle));
        codes(t, c + 1) = T(std::cos(angle));
      }
    return codes;
  }

  void check(const std::array<Index, 5>& x) const {
    const Index heads = options.num_heads, channels = conv.weight.dimension(0);
    require(x[1] > 0 && x[3] > 0 && x[4] > 0, kName, "x must have frames and positions, got shape ", shape_text(x));
    require(options.position_dim >= 2 && options.position_dim % 2 == 0, kName, "position_dim must be even, got ",
            options.position_dim);
    require(heads > 0 && channels > 0 && channels % heads == 0, kName,
            "conv.weight must have a multiple of num_heads = ", heads, " rows, got ", channels);
    require_parameter(kName, "conv.weight", conv.weight, {channels, x[2]});
    require_parameter(kName, "beta.weight", beta.weight, {heads, channels / heads + options.position_dim});
    require_parameter(kName, "beta.bias", beta.bias, {heads});
  }
};

}  // namespace HEED_ISA
}  // namespace heed
