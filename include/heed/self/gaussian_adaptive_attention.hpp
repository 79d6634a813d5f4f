// SPDX-License-Identifier: Apache-2.0
// gaussian_adaptive_attention and gaussian_adaptive_block: gates that keep values near the mean along an axis.
#pragma once

#include <numbers>
#include <optional>
#include <vector>

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/reduce.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// out = x * weights, where the weights are a product of Gaussians around the mean along an axis, which sum to 1.
///
///   heed::GaussianAdaptiveAttention<float> gate{{.axis = 1, .num_heads = 4}};
///   auto [out, weights] = gate(x);                          // or gate(device, x)
///
/// x, out and weights have one shape of any rank from 2; mean_offset and scale (H, G), G Gaussians for each of H heads,
/// scale not 0. Along the axis, of length n, head h takes floor(n / H) elements from h floor(n / H) on, the last one
/// also those that are left. In a head's part, of length L, for each position of all other axes:
///
/// 1. mu = mean of x, V = sum of (x - mu)^2 / (L - 1) + eps, where elements equal to padding_value count as 0.
/// 2. w = product over g of exp(-t_g^2 / (2 c_g^2)) / sqrt(2 pi c_g^2), t_g = (x - mu - mean_offset[h, g]) / sqrt(V),
///    c_g = scale[h, g].
/// 3. weights = w / max(sum of w over the part, eps); out = x * weights, but x itself where it is padding_value.
///
/// The product is evaluated as one Gaussian, that of precision sum of c_g^-2 around the weighted mean of the offsets.
/// Where all w underflow, weights and out are about 0. Throws heed::Error for an axis, heads or parameters that do not
/// fit, and for L = 1, whose V is undefined. Time O(size), with one exponential for each element, in some ten passes.
/// The same bits for any number of threads.
/// Source: Ioannides et al. 2024, Gaussian Adaptive Attention Is All You Need; the authors' GaussianBlock.py.
template <Real T>
struct GaussianAdaptiveAttention {
  struct Options {
    int axis = -1;  ///< negative: from the last one
    Index num_heads = 1;
    std::optional<double> padding_value = std::nullopt;
    double eps = 1e-8;  ///< 0 or more
  };
  /// Tensors, or variables where x is one.
  template <class X>
  struct Result {
    X out;
    X weights;
  };

  Options options = {};
  Tensor<T, 2> mean_offset = {};
  Tensor<T, 2> scale = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("mean_offset", mean_offset);
    f("scale", scale);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    constexpr int rank = kOperandRank<X>;
    using heed::scale;  // which the parameter of this name hides
    static_assert(rank >= 2 && std::same_as<OperandScalar<X>, T>,
                  "heed::GaussianAdaptiveAttention<T>: x has two axes or more, of T");
    const auto sizes = sizes_of(x);
    const int axis = options.axis < 0 ? options.axis + rank : options.axis;
    check(sizes, axis);
    auto out = make_output<T, rank>(kName, sizes, x);
    auto weights = make_output<T, rank>(kName, sizes, x);

    // sum over g of (y - m_g)^2 / (2 c_g^2) = precision (y - centre)^2 + spread, for each head.
    const auto offset = beside(x, mean_offset), width = beside(x, this->scale);
    const auto squares = multiply(device, width, width);
    auto half = make_output<T, 2>(kName, {1, 1}, x);
    fill(device, half, 0.5);
    const auto precisions = divide(device, half, squares);
    const auto precision = sum(device, precisions, {1});
    const auto centre = divide(device, sum(device, multiply(device, precisions, offset), {1}), precision);
    const auto apart = subtract(device, offset, centre);
    const auto spread = sum(device, multiply(device, precisions, multiply(device, apart, apart)), {1});
    const auto log_norm = sum(device, activate(device, Log(), scale(device, squares, 2 * std::numbers::pi)), {1}, 0.5);

    const Index heads = options.num_heads, n = sizes[std::size_t(axis)];
    for (Index h = 0; h < heads; ++h) {
      const Index start = h * (n / heads), length = h + 1 < heads ? n / heads : n - start;
      const auto own = [h](const auto& per_head) { return view(per_head).slice(0, h, 1); };
      const auto part = [&](auto&& whole) { return view(whole).slice(axis, start, length); };
      const auto gate = [&](const auto& values) {  // those of the part, padding as 0
        const auto mu = mean(device, values, {axis});
        const auto centred = subtract(device, values, mu);
        const auto variance = sum(device, multiply(device, centred, centred), {axis}, 1 / double(length - 1));
        const auto inverse = activate(device, InverseSqrt{options.eps}, variance);
        const auto t = multiply(device, subtract(device, subtract(device, part(x), mu), own(centre)), inverse);
        const auto quadratic = multiply(device, multiply(device, t, t), own(precision));
        const auto constant =
            add(device, multiply(device, multiply(device, inverse, inverse), own(spread)), own(log_norm));
        const auto w = exp(device, scale(device, add(device, quadratic, constant), -1));
        const auto total = activate(device, AtLeast{options.eps}, sum(device, w, {axis}));
        const auto share = divide(device, w, total);
        concat_into<0>(device, part(weights), share);
        return share;
      };
      if (options.padding_value) {
        const double padding = *options.padding_value;
        const auto values = activate(device, ZeroWhere{padding}, part(x));
        const auto gated = multiply(device, values, gate(values));
        // What is not padding, taken away from x, leaves the padding.
        concat_into<0>(device, part(out), add(device, gated, subtract(device, part(x), values)));
      } else {
        concat_into<0>(device, part(out), multiply(device, part(x), gate(part(x))));
      }
    }
    return Result<decltype(out)>{std::move(out), std::move(weights)};
  }

 private:
  static constexpr std::string_view kName = "gaussian_adaptive_attention";

  // A parameter as what x is, so that what is made of it alone is recorded too.
  template <Operand X>
  static auto beside(const X& x, const Tensor<T, 2>& parameter) {
    if constexpr (Recorded<X>) {
      return tape_of(kName, x).parameter(parameter);
    } else {
      return const_view(parameter);
    }
  }

  template <std::size_t Rank>
  void check(const std::array<Index, Rank>& x, int axis) const {
    require(axis >= 0 && axis < int(Rank), kName, "axis ", options.axis, " is none of x of shape ", shape_text(x));
    const Index heads = options.num_heads, n = x[std::size_t(axis)];
    require(heads > 0 && n / heads >= 2, kName, "each of num_heads = ", heads,
            " heads needs two elements or more, whose variance it takes; the axis has ", n);
    require(std::isfinite(options.eps) && options.eps >= 0, kName, "eps must be 0 or positive and finite, got ",
            options.eps);
    require(scale.dimension(0) == heads && scale.dimension(1) > 0, kName, "scale must have shape (H, G) = (", heads,
            ", G), got ", shape_text(const_view(scale).sizes));
    require(const_view(mean_offset).sizes == const_view(scale).sizes, kName, "mean_offset must have the shape ",
            shape_text(const_view(scale).sizes), " of scale, got ", shape_text(const_view(mean_offset).sizes));
    for (Index i = 0; i < scale.size(); ++i)
      require(scale.data()[i] != T(0), kName, "scale must not be 0, got one at ", i);
  }
};

/// x <- gate(x) + x for one GaussianAdaptiveAttention after the other.
///
///   heed::GaussianAdaptiveBlock<float> block;
///   block.layer.push_back({{.axis = 1, .num_heads = 2}, offsets, scales});
///   auto y = block(x);
///
/// x and out are of one shape of any rank from 2; each layer has its own options and parameters, named layer0.scale and
/// so on. A layer tests its own input for padding: an element of padding p is 2p behind the first layer, which the next
/// one does not know unless p is 0. Without layers out is x. Errors and cost as of the layers.
/// Source: the same.
template <Real T>
struct GaussianAdaptiveBlock {
  std::vector<GaussianAdaptiveAttention<T>> layer = {};

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t l = 0; l < layer.size(); ++l) visit_part("layer" + std::to_string(l) + ".", layer[l], f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    auto state = contiguous(device, x);
    for (const auto& gate : layer) state = add(device, gate(device, state).out, state);
    return state;
  }
};

}  // namespace heed::inline HEED_ISA
