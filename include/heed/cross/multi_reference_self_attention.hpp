// SPDX-License-Identifier: Apache-2.0
// multi_reference_self_attention: an image attends to itself and to references, inside of their masks.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "heed/attention/merge.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x, but -infinity where it is 0.
struct HiddenWhereZero {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x == simd::Batch<T>(T(0)), simd::Batch<T>(-std::numeric_limits<T>::infinity()), x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T>) const {
    return simd::Batch<T>(T(0));
  }
};

}  // namespace detail

/// One softmax over the keys of the image and of R references: scores q . k / sqrt(D) for its own, plus m_r[j] for key
/// j of reference r, which is left out where m_r[j] = 0; m_r = mask_weights[r] ref_mask[r], resized to the image by
/// nearest neighbour. With style_fidelity f the result is (1 - f) that + f times attention to the own keys alone.
///
///   heed::MultiReferenceSelfAttention attend{{.mask_weights = {1, 1}}};
///   auto y = attend(q, k, v, k_ref, v_ref, ref_mask);       // or attend(device, q, ...)
///
/// q, k, v (H, N, D), N a square; k_ref, v_ref (R, H, N, D), ref_mask (R, hm, wm) without gradient; out (N, H D). Each
/// source is attended in place and the states are merged by their log-sum-exp, so that no keys are copied together. An
/// empty mask, or a weight of 0, removes a reference. Throws heed::Error for shapes and options that do not fit. Time
/// O(N^2 (1 + R) D) per head. The same bits for any number of threads.
/// Source: Ding et al. 2024 (FreeCustom), the authors' MultiReferenceSelfAttention.
struct MultiReferenceSelfAttention {
  struct Options {
    std::vector<double> mask_weights = {};  ///< one for each reference; empty: 1 each
    double style_fidelity = 0;              ///< in [0, 1]
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand KR, Operand VR, TensorLike M>
  auto operator()(const Q& q, const K& k, const V& v, const KR& k_ref, const VR& v_ref, const M& ref_mask) const {
    return (*this)(DeviceRef(), q, k, v, k_ref, v_ref, ref_mask);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand KR, Operand VR, TensorLike M>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const KR& k_ref, const VR& v_ref,
                  const M& ref_mask) const {
    using T = Compute<OperandScalar<Q>>;
    const auto s = sizes_of(q);
    const Index references = sizes_of(k_ref)[0];
    check(s, sizes_of(k), sizes_of(v), sizes_of(k_ref), sizes_of(v_ref), const_view(ref_mask).sizes);
    const auto bias_of_keys = constant_with(key_bias<T>(device, ref_mask, s[1]), q, k, v, k_ref, v_ref);

    auto states = make_output<T, 5>(kName, {references + 1, 1, s[0], s[1], s[2]}, q, k, v, k_ref, v_ref);
    auto lses = make_output<T, 4>(kName, {references + 1, 1, s[0], s[1]}, q, k, v, k_ref, v_ref);
    const auto attend = [&](const auto& attention, Index state, const auto& keys, const auto& values) {
      attention(device, view(q).template promote<4>(), keys.template promote<4>(), values.template promote<4>(),
                into(view(states).select(0, state), view(lses).select(0, state)));
    };
    attend(softmax_attention(), 0, view(k), view(v));
    for (Index r = 0; r < references; ++r)
      attend(softmax_attention(bias(view(bias_of_keys).slice(0, r, 1))), r + 1, view(k_ref).select(0, r),
             view(v_ref).select(0, r));
    const auto merged = std::get<0>(merge_attention_states(device, states, lses));
    const double style = options.style_fidelity;
    const auto blended =
        style == 0 ? contiguous(device, merged)
                   : add(device, scale(device, merged, 1 - style), scale(device, view(states).select(0, 0), style));
    const auto joined = contiguous(device, view(blended).select(0, 0).permute({1, 0, 2}));
    return contiguous(device, view(joined).merge(1));
  }

 private:
  static constexpr std::string_view kName = "multi_reference_self_attention";

  // (R, N): what is added to the scores of each key.
  template <class T, class D, class M>
  Tensor<T, 2> key_bias(const D& device, const M& ref_mask, Index tokens) const {
    const Index references = const_view(ref_mask).size(0), side = std::llround(std::sqrt(double(tokens)));
    Tensor<T, 4> weights(1, references, 1, 1);
    for (Index r = 0; r < references; ++r)
      weights(0, r, 0, 0) = T(options.mask_weights.empty() ? 1 : options.mask_weights[std::size_t(r)]);
    const auto resized = resize_nearest(device, const_view(ref_mask).template promote<4>(), {side, side});
    const auto weighted = activate(device, detail::HiddenWhereZero(), multiply(device, resized, weights));
    Tensor<T, 2> result(references, tokens);
    std::copy_n(weighted.data(), weighted.size(), result.data());
    return result;
  }

  void check(const std::array<Index, 3>& q, const std::array<Index, 3>& k, const std::array<Index, 3>& v,
             const std::array<Index, 4>& k_ref, const std::array<Index, 4>& v_ref,
             const std::array<Index, 3>& mask) const {
    const Index side = std::llround(std::sqrt(double(q[1]))), references = k_ref[0];
    require(side * side == q[1] && side > 0, kName, "the number of tokens must be a square, got ", q[1]);
    require_shape(kName, "k", k, q);
    require_shape(kName, "v", v, q);
    require_shape(kName, "k_ref", k_ref, std::array<Index, 4>{references, q[0], q[1], q[2]});
    require_shape(kName, "v_ref", v_ref, k_ref);
    require(mask[0] == references && mask[1] > 0 && mask[2] > 0, kName,
            "ref_mask must have shape (R, hm, wm) with R = ", references, ", got ", shape_text(mask));
    require(options.mask_weights.empty() || Index(options.mask_weights.size()) == references, kName,
            "mask_weights must have one number for each of ", references, " references, got ",
            options.mask_weights.size());
    require(options.style_fidelity >= 0 && options.style_fidelity <= 1, kName, "style_fidelity must be in [0, 1], got ",
            options.style_fidelity);
  }
};

}  // namespace heed::inline HEED_ISA
