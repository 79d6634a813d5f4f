// SPDX-License-Identifier: Apache-2.0
// The standard score modifiers: soft cap, linear distance bias, additive bias, sink logit.
#pragma once

#include <cmath>

#include "heed/attention/score/modifier.hpp"
#include "heed/kernel/transpose.hpp"
#include "heed/simd/math.hpp"

namespace heed::inline HEED_ISA {

/// s * factor.
struct ScaleBy : ScoreModifierBase {
  double factor;
  static constexpr bool kMayHide = false;
  template <class S, class A>
  HEED_INLINE S operator()(S s, const A&) const {
    return s * S(typename A::Scalar(factor));
  }
};
/// Multiplies the score by `factor`, any finite number; for another scale of q.k itself, set SoftmaxOptions::scale.
/// Gradient: of the score.
inline ScaleBy scale_by(double factor) {
  require(std::isfinite(factor), "scale_by", "the factor must be finite, got ", factor);
  return {{}, factor};
}

struct Softcap : ScoreModifierBase {
  double cap;
  static constexpr bool kMayHide = false;
  template <class S, class A>
  HEED_INLINE S operator()(S s, const A&) const {
    using T = typename A::Scalar;
    return simd::tanh<T>(s * S(T(1.0 / cap))) * S(T(cap));
  }
};
/// cap * tanh(s / cap), as Gemma 2 caps its scores; cap > 0.
/// Gradient: of the score.
inline Softcap softcap(double cap) {
  require(std::isfinite(cap) && cap > 0, "softcap", "the cap must be positive and finite, got ", cap);
  return {{}, cap};
}

template <class U>
struct Alibi : ScoreModifierBase {
  View<const U, 1> slopes;
  static constexpr bool kMayHide = false;
  void check(const AttentionShape& shape) const {
    require(slopes.size(0) == shape.heads, "alibi", "slopes must have shape (H) = (", shape.heads, "), got ",
            shape_text(slopes.sizes));
  }
  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    return s - at.of_head(slopes) * simd::abs(at.distance());
  }
  static constexpr int kParameters = 1;
  template <class F>
  void for_each_parameter(F&& f) const {
    f(per_head(slopes));
  }
};
/// s - slopes[h] * |p_i - j| (Press et al. 2022). `slopes`: (H), read when the attention runs.
/// Gradient: of the score and the slopes.
template <Operand X>
auto alibi(X&& slopes) {
  return Alibi<OperandScalar<X>>{{}, detail::kept_view(std::forward<X>(slopes))};
}

/// Additive bias of shape (B, H, N, M), every axis full or 1. Read against the grain of the kernel's lanes it would be
/// a gather per batch of scores; so each tile is transposed into a plane first.
template <class U>
struct BiasModifier : ScoreModifierBase {
  View<const U, 4> bias;
  static constexpr int kPlanes = 1;
  static constexpr bool kAddsPlane = true;

  void check(const AttentionShape& shape) const { stretched(shape); }
  View<const U, 4> stretched(const AttentionShape& shape) const {
    return bias.broadcast({shape.batch, shape.heads, shape.queries, shape.keys}, "bias", "the bias");
  }
  Index step(int axis) const { return bias.size(axis) == 1 ? 0 : bias.stride(axis); }

  template <Real T>
  void fill(const PairTile& tile, T* plane, Index) const {
    const U* source =
        bias.data + tile.batch * step(0) + tile.head * step(1) + tile.first_query * step(2) + tile.first_key * step(3);
    kernel::rows_to_panel<T>(source, step(2), step(3), tile.queries, tile.keys, T(1), plane);
  }
  bool same_planes() const { return step(0) == 0; }
  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    const S b = at.of_plane(bias);
    // The key of a -infinity stays hidden even where its score is NaN.
    const S hidden(-std::numeric_limits<typename A::Scalar>::infinity());
    return simd::select(b == hidden, hidden, S(s + b));
  }
  static constexpr int kParameters = 1;
  template <class F>
  void for_each_parameter(F&& f) const {
    f(per_pair(bias));
  }
};
/// s + bias, where -infinity hides the key. `bias`: rank 2 (N, M), 3 (H, N, M) or 4 (B, H, N, M), any axis 1 to
/// broadcast; float, double, bfloat16 or half; read when the attention runs.
/// Gradient: of the score and the bias, summed over the axes that it is broadcast along.
template <Operand X>
auto bias(X&& bias) {
  return BiasModifier<OperandScalar<X>>{{}, detail::kept_view(std::forward<X>(bias)).template promote<4>()};
}

/// One more logit per head in the normaliser, without a value.
template <class U>
struct SinkLogit : ScoreModifierBase {
  View<const U, 1> logits;
  static constexpr bool kMayHide = false;
  void check(const AttentionShape& shape) const {
    require(logits.size(0) == shape.heads, "sink_logit", "logits must have shape (H) = (", shape.heads, "), got ",
            shape_text(logits.sizes));
  }
  template <class S, class A>
  HEED_INLINE S operator()(S s, const A&) const {
    return s;
  }
  template <Real T>
  T extra_logit(Index, Index head) const {
    return simd::widen<T>(logits(head));
  }
  ScoreParameter extra_parameter() const { return per_head(logits); }
};
/// Adds exp(logits[h]) to the softmax's normaliser: the sink takes probability and contributes no value. `logits`: (H).
/// Gradient: of the logits.
template <Operand X>
auto sink_logit(X&& logits) {
  return SinkLogit<OperandScalar<X>>{{}, detail::kept_view(std::forward<X>(logits))};
}

}  // namespace heed::inline HEED_ISA
