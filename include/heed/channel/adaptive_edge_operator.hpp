// SPDX-License-Identifier: Apache-2.0
// adaptive_edge_operator: images blended with an edge response whose filter is chosen for each of them.
#pragma once

#include "heed/block/gate.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// blend * e + (1 - blend) * x with e = factor * sqrt(gx^2 + gy^2 + eps).
struct EdgeBlend {
  static constexpr std::string_view kName = "adaptive_edge_operator";
  template <Real T>
  using Batch = simd::Batch<T>;
  template <Real T>
  Batch<T> value(Batch<T> x, Batch<T> gx, Batch<T> gy, Batch<T> eps, Batch<T> factor, Batch<T> blend) const {
    return blend * (factor * length<T>(gx, gy, eps)) + (Batch<T>(T(1)) - blend) * x;
  }
  template <int Operand, Real T>
  Batch<T> gradient(Batch<T> d, Batch<T> x, Batch<T> gx, Batch<T> gy, Batch<T> eps, Batch<T> factor,
                    Batch<T> blend) const {
    if constexpr (Operand == 0) return d * (Batch<T>(T(1)) - blend);
    const Batch<T> edge = length<T>(gx, gy, eps);
    if constexpr (Operand == 1) return d * blend * factor * gx / edge;
    if constexpr (Operand == 2) return d * blend * factor * gy / edge;
    if constexpr (Operand == 3) return d * blend * factor * T(0.5) / edge;
    if constexpr (Operand == 4) return d * blend * edge;
    return d * (factor * edge - x);
  }

 private:
  template <Real T>
  static Batch<T> length(Batch<T> gx, Batch<T> gy, Batch<T> eps) {
    return simd::sqrt(simd::fma(gx, gx, simd::fma(gy, gy, eps)));
  }
};

/// The corner of a S + (1 - a) H over its largest entry, for Sobel's S (1, 2), Scharr's H (3, 10) and a = sigmoid(x).
struct EdgeCorner {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    using Batch = simd::Batch<T>;
    const Batch a = Sigmoid().value<T>(x);
    return (Batch(T(3)) - T(2) * a) / (Batch(T(10)) - T(8) * a);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    using Batch = simd::Batch<T>;
    const Batch largest = Batch(T(10)) - T(8) * Sigmoid().value<T>(x);
    return Sigmoid().derivative<T>(x) * T(4) / (largest * largest);
  }
};

}  // namespace detail

/// out = blend * E + (1 - blend) * x, E = sqrt((K_x * u)^2 + (K_y * u)^2 + eps) with the filters that op(b) names for
/// image b: 0 Sobel's, 1 Scharr's, both with eps 1e-8; 2 a learned mix, a S + (1 - a) H with a = sigmoid(alpha), over
/// its largest entry, with eps 1e-6 and E times sigmoid(scale). Cross-correlation with zeros around the map, which it
/// sees as an edge.
///
/// x (B, C, h, w), out as x; op (B) int32; blend (1), not squashed; alpha (1) and scale (1), unless `gray`. u is x,
/// each channel apart; with `gray`, which is for C = 3 and op of 0 and 1, u = 0.299 x_0 + 0.587 x_1 + 0.114 x_2 and all
/// channels get its response. Which operator is for which year or crop is the caller's to say. Throws heed::Error for
/// shapes and choices that do not fit, a map without positions or whose images do not follow each other in memory. Time
/// O(B C h w): only the chosen response is computed. The same bits for any number of threads.
/// Source: DFYP 2025, adaptive operator learning.
template <Real T>
struct AdaptiveEdgeOperator {
  struct Options {
    bool gray = false;
  };

  Options options = {};
  Tensor<T, 1> blend = {}, alpha = {}, scale = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("blend", blend);
    f("alpha", alpha, heed::optional);
    f("scale", scale, heed::optional);
  }

  template <Operand X, TensorLike I>
  auto operator()(const X& x, const I& op) const {
    return (*this)(DeviceRef(), x, op);
  }
  template <Device D, Operand X, TensorLike I>
  auto operator()(const D& device, const X& x, const I& op) const {
    static_assert(kRankOf<I> == 1 && std::same_as<ScalarOf<I>, std::int32_t>,
                  "heed::AdaptiveEdgeOperator: op is (B), of std::int32_t");
    require_map(kName, x);
    check(sizes_of(x), const_view(op));
    const auto bank = filters(device, x);
    const auto chosen = gather(device, bank, op);  // (B, kColumns)
    if (!options.gray) return apply(device, x, x, chosen);
    Tensor<T, 2> luminance(1, 3);
    luminance.setValues({{T(0.299), T(0.587), T(0.114)}});
    const Tensor<T, 1> none;
    return apply(device, x, conv_channels(device, x, constant_with(std::move(luminance), x), none), chosen);
  }

 private:
  static constexpr std::string_view kName = "adaptive_edge_operator";
  // Of a row of the bank: K_x, K_y, eps, and the factor of the response.
  static constexpr Index kEps = 18, kFactor = 19, kColumns = 20;

  template <Device D, Operand X, Operand U, Operand R>
  auto apply(const D& device, const X& x, const U& u, const R& chosen) const {
    const auto sizes = sizes_of(u);
    const Index channels = sizes[1], planes = sizes[0] * channels;
    if (planes == 0) return contiguous(device, x);
    Tensor<T, 3> ones(1, channels, 1);
    ones.setConstant(T(1));
    const auto each = constant_with(std::move(ones), x);
    // All planes as the channels of one map, each with the filter of its image.
    const auto map = view(u).merge(0).template promote<4>();
    const Tensor<T, 1> none;
    const auto respond = [&](Index first) {
      const auto weights = multiply(device, view(chosen).slice(1, first, 9).split(0, 1), each);  // (B, C, 9)
      return conv_2d(device, map, view(weights).template reshape<4>({planes, 1, 3, 3}), none,
                     ConvOptions::same(3, planes));
    };
    const auto gx = respond(0), gy = respond(9);  // (1, B C, h, w)
    const auto images = [&](const auto& y) { return view(y).select(0, 0).split(0, channels); };
    const auto per_image = [&](Index column) { return view(chosen).slice(1, column, 1).split(1, 1).split(2, 1); };
    return pointwise(detail::EdgeBlend(), device, x, images(gx), images(gy), per_image(kEps), per_image(kFactor),
                     parameter_with(blend, x));
  }

  // The filters of all choices, (3, kColumns): the learned ones are 1 (or 0) and the corner times a pattern.
  template <Device D, Operand X>
  auto filters(const D& device, const X& x) const {
    Tensor<T, 2> fixed(3, kColumns), corner(3, kColumns), factor(3, kColumns);
    fixed.setZero();
    corner.setZero();
    factor.setZero();
    constexpr std::array<double, 3> middle{2, 10, 1}, side{1, 3, 0}, eps{1e-8, 1e-8, 1e-6}, by{1, 1, 0};
    for (Index choice = 0; choice < 3; ++choice) {
      const std::size_t i = std::size_t(choice);
      put(fixed, choice, T(side[i]), T(middle[i]));
      fixed(choice, kEps) = T(eps[i]);
      fixed(choice, kFactor) = T(by[i]);
    }
    put(corner, 2, T(1), T(0));
    factor(2, kFactor) = T(1);
    auto bank = constant_with(std::move(fixed), x);
    if (alpha.size() == 0) return bank;
    const auto side_weight = activate(device, detail::EdgeCorner(), parameter_with(alpha, x));
    const auto weight = sigmoid(device, parameter_with(scale, x));
    const auto mixed = multiply_add(device, constant_with(std::move(corner), x), side_weight, bank);
    bank = multiply_add(device, constant_with(std::move(factor), x), weight, mixed);
    return bank;
  }
  // K_x with rows (-side, 0, side; -middle, 0, middle; -side, 0, side), and its transpose.
  static void put(Tensor<T, 2>& bank, Index choice, T side, T middle) {
    for (Index i = 0; i < 3; ++i) {
      const T value = i == 1 ? middle : side;
      bank(choice, 3 * i) = -value;
      bank(choice, 3 * i + 2) = value;
      bank(choice, 9 + i) = -value;
      bank(choice, 9 + 6 + i) = value;
    }
  }

  void check(const std::array<Index, 4>& x, const View<const std::int32_t, 1>& op) const {
    require(op.size(0) == x[0], kName, "op must have shape (B) = (", x[0], "), got (", op.size(0), ")");
    require(!options.gray || x[1] == 3, kName, "gray is for C = 3, got x of shape ", shape_text(x));
    require_parameter(kName, "blend", blend, {1});
    require(alpha.size() == scale.size() && alpha.size() <= 1, kName,
            "alpha and scale must both have shape (1), or both be empty, got (", alpha.size(), ") and (", scale.size(),
            ")");
    const Index choices = options.gray || alpha.size() == 0 ? 2 : 3;
    for (Index b = 0; b < x[0]; ++b)
      require(op(b) >= 0 && op(b) < choices, kName, "op[", b, "] must be in 0 .. ", choices - 1,
              choices == 2 ? " (2 needs alpha and scale, and no gray)" : "", ", got ", op(b));
  }
};

}  // namespace heed::inline HEED_ISA
