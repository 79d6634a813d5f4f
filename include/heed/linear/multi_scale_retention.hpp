// SPDX-License-Identifier: Apache-2.0
// multi_scale_retention: the layer of RetNet.
#pragma once

#include <numeric>

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/rotary.hpp"
#include "heed/linear/retention.hpp"
#include "heed/scan/decayed_score_sums.hpp"

namespace heed::inline HEED_ISA {

/// Retention of the projections q, k and v, rotated by their positions, each head at its own decay and brought to one
/// scale, gated by silu(gate(x)), through an output projection.
///
///   heed::MultiScaleRetention<float> retain{{.num_heads = 8}};
///   auto y = retain(x);                                     // or retain(device, x)
///
/// x and out (B, N, C); q.weight and k.weight (C, C), v.weight and gate.weight (C_v, C), out.weight (C, C_v), no
/// biases; D = C / H is even, Dv = C_v / H. k is scaled by D^-1/2. Pairs of channels (2p, 2p + 1) turn by
/// n 10000^(-p / (D/2 - 1)), n the position. The weights w_ij = gamma_h^(i - j) q_i . k_j, gamma_h = 1 - 2^(-5 - h), of
/// row i are divided by the root of the sum of gamma_h^(i - j) and then by sum_j |w_ij| between 1 and 50000, a constant
/// of the gradient; then o / sqrt(mean of o^2 + eps) over Dv.
///
/// That norm undoes both divisions but for eps. They are what the authors' parallel form has, and the second one takes
/// O(N^2 D) time; without them, divide_rows = false, it is linear in N, as in the authors' recurrent form, and differs
/// by what eps does (4e-7 at 1e-6). All else by linear_scan. Throws heed::Error for shapes and options that do not fit.
/// The same bits for any number of threads.
/// Source: Sun et al. 2023, Retentive Network, section 2.3 and eq. 8.
template <Real T>
struct MultiScaleRetention {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-6;
    bool divide_rows = true;
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, gate = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("q.weight", q.weight);
    f("k.weight", k.weight);
    f("v.weight", v.weight);
    f("gate.weight", gate.weight);
    f("out.weight", out.weight);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const auto sizes = sizes_of(x);
    check(sizes);
    const Index heads = options.num_heads, width = sizes[2] / heads;
    const auto queries = q(device, x), keys = k(device, x), values = v(device, x);
    const auto turned_q = turn(device, split_heads(queries, heads));
    const auto turned_k = scale(device, turn(device, split_heads(keys, heads)), 1 / std::sqrt(double(width)));
    const View<const T, 4> none;
    const auto decay = constant_with(retention_log_decay<T>(heads, {}, kName), x);
    const auto retained = linear_scan(device, turned_q, turned_k, split_heads(values, heads), decay, none, none).out;
    if (!options.divide_rows) return finish(device, x, retained);
    const auto factors = constant_with(row_factors(device, values_of(turned_q), values_of(turned_k)), x);
    return finish(device, x, multiply(device, retained, factors));
  }

 private:
  static constexpr std::string_view kName = "multi_scale_retention";

  template <class D, Operand X>
  static auto turn(const D& device, const X& x) {
    const Index width = sizes_of(x)[3];
    Tensor<std::int32_t, 2> positions(1, sizes_of(x)[2]);
    std::iota(positions.data(), positions.data() + positions.size(), 0);
    // base^(-2p / D) = 10000^(-p / (D/2 - 1)); of one pair the angle is the position, whatever the base.
    const double base = width == 2 ? 10000 : std::pow(10000.0, double(width) / double(width - 2));
    return rotate(device, x, const_view(positions), {.base = base, .interleaved = true}, kName);
  }

  // 1 / (root of the decays' sum * divisor of the weights), (B, H, N, 1).
  template <class D, TensorLike Q, TensorLike K>
  static Tensor<T, 4> row_factors(const D& device, const Q& queries, const K& keys) {
    const Tensor<T, 4> decay = retention_log_decay<T>(const_view(queries).size(1), {}, kName);
    Tensor<T, 4> factors = decayed_score_sums(device, queries, keys, decay);
    const Index tokens = factors.dimension(2);
    for (Index i = 0; i < factors.size(); ++i) {
      const double g = double(decay(0, i / tokens % factors.dimension(1), 0, 0));
      const double root = std::sqrt(std::expm1(g * double(i % tokens + 1)) / std::expm1(g));
      factors.data()[i] = T(1 / (root * std::clamp(double(factors.data()[i]) / root, 1.0, 50000.0)));
    }
    return factors;
  }

  template <class D, Operand X, Operand R>
  auto finish(const D& device, const X& x, const R& retained) const {
    const auto normed = rms_norm(device, retained, Tensor<T, 1>(), options.eps);
    const auto tokens = contiguous(device, view(normed).permute({0, 2, 1, 3}));
    const auto gates = activate(device, Silu(), gate(device, x));
    return out(device, multiply(device, gates, view(tokens).merge(2)));
  }

  void check(const std::array<Index, 3>& x) const {
    const Index heads = options.num_heads, channels = x[2], values = v.weight.dimension(0);
    require(heads > 0 && channels > 0 && channels % heads == 0 && channels / heads % 2 == 0, kName,
            "C / num_heads must be an even number, got C = ", channels, " and num_heads = ", heads);
    require(values > 0 && values % heads == 0, kName, "v.weight must have a multiple of num_heads = ", heads,
            " rows, got ", values);
    check_linear(kName, "q", q, channels, channels);
    check_linear(kName, "k", k, channels, channels);
    check_linear(kName, "v", v, channels, values);
    check_linear(kName, "gate", gate, channels, values);
    check_linear(kName, "out", out, values, channels);
  }
};

}  // namespace heed::inline HEED_ISA
