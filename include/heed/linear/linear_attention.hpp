// SPDX-License-Identifier: Apache-2.0
// linear_attention: softmax attention with the exponential of a product replaced by a product of features.
#pragma once

#include <cstdint>
#include <optional>

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/scan/linear_scan.hpp"

namespace heed::inline HEED_ISA {

/// Elementwise feature maps: elu(x) + 1, max(x, 0), e^x, x.
enum class LinearFeatures { kEluPlusOne, kRelu, kExp, kIdentity };

namespace detail {

template <Device D, Operand X>
auto linear_features(const D& device, LinearFeatures features, const X& x) {
  switch (features) {
    case LinearFeatures::kEluPlusOne:
      return activate(device, EluPlusOne(), x);
    case LinearFeatures::kRelu:
      return activate(device, Relu(), x);
    case LinearFeatures::kExp:
      return activate(device, Exp(), x);
    case LinearFeatures::kIdentity:
      break;
  }
  return contiguous(device, x);
}

/// Attention by features that are there already, over all keys: the sums of weights * values and of the weights.
template <Device D, Operand Q, Operand K, Operand V>
auto attend_all(const D& device, const Q& q, const K& k, const V& v) {
  const auto keys = view(k).permute({0, 1, 3, 2});
  const auto state = matmul(device, keys, v);
  const auto total = sum(device, k, {2});
  return std::make_pair(matmul(device, q, state), matmul(device, q, view(total).permute({0, 1, 3, 2})));
}

}  // namespace detail

/// Inputs that a call may have: views, whose tensors must outlive the call, and of a recorded one the recording.
struct LinearAttentionInputs {
  std::optional<View<const std::uint8_t, 2>> key_mask = std::nullopt;  ///< (B, M)
};

/// out_i = sum_j w_ij v_j / (sum_j w_ij + eps) with w_ij = scale * phi(q_i) . phi(k_j), over all j or, causal, j <= i;
/// without the normalizer the sum alone.
///
///   heed::LinearAttention attend{{.causal = true}};
///   auto [out, state_kv, state_z] = attend(q, k, v);
///   auto next = attend(q2, k2, v2, {}, state_kv, state_z);        // goes on where the first call ended
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv); key_mask (B, M), 1 where a key counts. Causal
/// needs N = M; then the states before, state_kv (B, H, D, Dv) = sum phi(k_j) v_j^T and state_z (B, H, D) = sum
/// phi(k_j), may be given, both or none, and those after are results (empty otherwise). The denominator is not clamped:
/// relu features may leave eps alone in it, as in the authors' code, and the identity a negative one. A masked key
/// or value never changes a result. Throws heed::Error for shapes that do not fit. Time O((N + M) D Dv), linear in the
/// tokens. The same bits for any number of threads.
/// Source: Katharopoulos et al. 2020, Transformers are RNNs.
struct LinearAttention {
  struct Options {
    LinearFeatures feature_map = LinearFeatures::kEluPlusOne;
    bool causal = false;
    bool normalize = true;  ///< "sum_plus_eps"; false: "none"
    double eps = 1e-6;
    double scale = 1;
  };
  using Inputs = LinearAttentionInputs;
  /// Tensors, or variables where one of q, k and v is one.
  template <class X, class Z>
  struct Result {
    X out, state_kv;
    Z state_z;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand S = View<const OperandScalar<Q>, 4>,
            Operand Z = View<const OperandScalar<Q>, 3>>
  auto operator()(const Q& q, const K& k, const V& v, const Inputs& inputs = {}, const S& state_kv = {},
                  const Z& state_z = {}) const {
    return (*this)(DeviceRef(), q, k, v, inputs, state_kv, state_z);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand S = View<const OperandScalar<Q>, 4>,
            Operand Z = View<const OperandScalar<Q>, 3>>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Inputs& in = {}, const S& state_kv = {},
                  const Z& state_z = {}) const {
    check(sizes_of(q), sizes_of(k), sizes_of(v), in, sizes_of(state_kv), sizes_of(state_z));
    // What stands beside a variable is recorded with it.
    const auto with = [&](const auto& x) { return parameter_with(x, q, k, v, state_kv, state_z); };
    const auto values = with(v);
    const auto queries = detail::linear_features(device, options.feature_map, with(q));
    const auto keys = detail::linear_features(device, options.feature_map, with(k));
    if (!in.key_mask) return run(device, queries, keys, values, with(state_kv), with(state_z));
    const auto shown = in.key_mask->split(1, 1).split(1, 1).permute({0, 2, 1, 3});  // (B, 1, M, 1)
    const auto shown_keys = masked_fill(device, keys, shown, 0);
    const auto shown_values = masked_fill(device, values, shown, 0);
    return run(device, queries, shown_keys, shown_values, with(state_kv), with(state_z));
  }

 private:
  static constexpr std::string_view kName = "linear_attention";

  template <class D, Operand Q, Operand K, Operand V, Operand S, Operand Z>
  auto run(const D& device, const Q& queries, const K& keys, const V& v, const S& state_kv, const Z& state_z) const {
    using T = OperandScalar<Q>;
    using X = std::remove_cvref_t<decltype(scale(device, queries, 1))>;
    using Sums = std::remove_cvref_t<decltype(contiguous(device, view(std::declval<X&>()).select(3, 0)))>;
    if (!options.causal) {
      const auto scaled = scale(device, queries, options.scale);
      const auto [sums, weights] = detail::attend_all(device, scaled, keys, v);
      return Result<X, Sums>{normalized(device, sums, weights), X(), Sums()};
    }
    const View<const T, 4> none;
    const Index width = sizes_of(v)[3];
    const LinearScanOptions scan{.scale = options.scale, .normalizer = true};
    const auto finish = [&](const auto& swept) {
      return Result<X, Sums>{normalized(device, view(swept.out).slice(3, 0, width), view(swept.out).slice(3, width, 1)),
                             contiguous(device, view(swept.state).slice(3, 0, width)),
                             contiguous(device, view(swept.state).select(3, width))};
    };
    if (sizes_of(state_z)[0] == 0) return finish(linear_scan(device, queries, keys, v, none, none, none, scan));
    const auto state = concat<3>(device, state_kv, view(state_z).split(2, 1));
    return finish(linear_scan(device, queries, keys, v, none, none, state, scan));
  }

  template <class D, Operand S, Operand W>
  auto normalized(const D& device, const S& sums, const W& weights) const {
    if (!options.normalize) return contiguous(device, sums);
    return divide(device, sums, activate(device, AddConstant{options.eps}, weights));
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const Inputs& in, const std::array<Index, 4>& state_kv, const std::array<Index, 3>& state_z) const {
    require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3] && (!options.causal || k[2] == q[2]), kName,
            "k must have shape (B, H, M, D) as q ", shape_text(q), ", with M = N if causal, got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], kName, "v must have shape (B, H, M, Dv) as k ", shape_text(k),
            ", got ", shape_text(v));
    const std::array<Index, 2> mask{k[0], k[2]};
    if (in.key_mask) require_shape(kName, "key_mask", in.key_mask->sizes, mask);
    if (state_z[0] == 0 && state_kv[0] == 0) return;
    require(options.causal, kName, "a state needs causal attention");
    require_shape(kName, "state_kv", state_kv, std::array<Index, 4>{q[0], q[1], q[3], v[3]});
    require_shape(kName, "state_z", state_z, std::array<Index, 3>{q[0], q[1], q[3]});
  }
};

}  // namespace heed::inline HEED_ISA
