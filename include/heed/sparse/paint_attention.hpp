// SPDX-License-Identifier: Apache-2.0
// paint_attention: the last query looks harder at chosen visual tokens.
#pragma once

#include "heed/attention/mask/standard.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// The score s of the last query becomes s + gain[h] strength[j] |s|.
template <Real T>
struct LastRowBoost : ScoreModifierBase {
  View<const T, 1> gain, strength;
  Index last = 0;  // the query
  static constexpr bool kMayHide = false;
  static constexpr int kParameters = 1;

  template <class S, class A>
  S operator()(S s, const A& at) const {
    using simd::select;
    const auto is_last = simd::to_mask<typename A::Scalar>(at.query() >= detail::lane_value(at, last));
    return select(is_last, S(s + at.of_head(gain) * at.of_key(strength) * abs(s)), s);
  }
  void check(const AttentionShape& shape) const {
    require(gain.size(0) == shape.heads, "paint_attention", "head_gain must have shape (H) = (", shape.heads, "), got ",
            shape_text(gain.sizes));
  }
  template <class F>
  void for_each_parameter(F&& f) const {
    f(per_head(gain));
  }
};

/// softmax(s) v with s = q k^T / sqrt(D), causal (j <= i + M - N), where for the last query alone s_j becomes s_j +
/// head_gain_h gamma_j |s_j|, gamma = alpha for local tokens of the image, beta for its summary tokens, 0 elsewhere.
///
///   heed::PaintAttention attend{{.image_start = 35, .image_len = 576}};
///   auto out = attend(q, k, v, masks.local_mask, masks.summary_mask);          // or (.., head_gain)
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv), out (B, H, N, Dv); local_mask and summary_mask (image_len) of
/// std::uint8_t, disjoint; head_gain (H), 1 where it is left out: a measured visual sensitivity of each head, such as
/// its attention mass on visual tokens over the mean of the heads (the abstract's head-specific modulation; the
/// released code has none). Gradients go to q, k, v and head_gain, through |s| too. Throws heed::Error for shapes and
/// options that do not fit. Cost and threads as softmax_attention. Source: Arif et al. 2025 (PAINT), hasanar1f/PAINT.
struct PaintAttention {
  struct Options {
    Index image_start = 0;
    Index image_len = 0;
    double alpha = 0.7;
    double beta = 0.3;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike L, TensorLike S>
  auto operator()(const Q& q, const K& k, const V& v, const L& local_mask, const S& summary_mask) const {
    return (*this)(DeviceRef(), q, k, v, local_mask, summary_mask);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike L, TensorLike S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const L& local_mask,
                  const S& summary_mask) const {
    Tensor<OperandScalar<Q>, 1> ones(sizes_of(q)[1]);
    ones.setConstant(OperandScalar<Q>(1));
    const auto gain = packed_with(ones, q, k, v);
    return (*this)(device, q, k, v, local_mask, summary_mask, const_view(gain));
  }
  template <Operand Q, Operand K, Operand V, TensorLike L, TensorLike S, Operand G>
  requires(!Device<Q>) auto operator()(const Q& q, const K& k, const V& v, const L& local_mask, const S& summary_mask,
                                       const G& head_gain) const {
    return (*this)(DeviceRef(), q, k, v, local_mask, summary_mask, head_gain);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike L, TensorLike S, Operand G>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const L& local_mask, const S& summary_mask,
                  const G& head_gain) const {
    using T = OperandScalar<Q>;
    static_assert(kOperandRank<Q> == 4 && kOperandRank<G> == 1 && std::same_as<OperandScalar<G>, T>,
                  "heed::PaintAttention: q is (B, H, N, D) and head_gain (H) of its type");
    constexpr std::string_view name = "paint_attention";
    const auto local = const_view(local_mask);
    const auto summary = const_view(summary_mask);
    const Index keys = sizes_of(k)[2], start = options.image_start, count = options.image_len;
    require(start >= 0 && count >= 0 && start + count <= keys, name, count, " image tokens from ", start,
            " on are not among the ", keys, " keys");
    require(local.size(0) == count && summary.size(0) == count, name, "the masks must have shape (image_len) = (",
            count, "), got ", shape_text(local.sizes), " and ", shape_text(summary.sizes));
    Tensor<T, 1> gamma(keys);
    gamma.setZero();
    for (Index j = 0; j < count; ++j) {
      require(local(j) == 0 || summary(j) == 0, name, "token ", j, " is both local and in the summary");
      gamma(start + j) = T(local(j) != 0 ? options.alpha : summary(j) != 0 ? options.beta : 0);
    }
    const auto strength = packed_with(gamma, q, k, v);
    const LastRowBoost<T> boost{{}, values_of(head_gain), const_view(strength), sizes_of(q)[2] - 1};
    return softmax_attention(boost, causal())(device, q, k, v);
  }
};

}  // namespace heed::inline HEED_ISA
