// SPDX-License-Identifier: Apache-2.0
// Score modifiers: what happens to scale * q.k before the softmax, and how modifiers chain.
#pragma once

#include "heed/attention/score/parameter.hpp"
#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

/// Base of the library's modifiers and of any user's own that wants to take part in `|`.
struct ScoreModifierBase {};

/// A score modifier is callable as `batch = modifier(batch, at)` for batches of float and of double, const and without
/// side effects: a lambda `[=](auto s, const auto& at) { return ...; }` or a struct with such an operator(). A result
/// of -infinity hides the key. Optional members:
///   void check(const AttentionShape&) const           throw heed::Error for arguments that do not fit the call
///   static constexpr bool kMayHide                     false if it never turns a finite score into -infinity
///   static constexpr int kPlanes, fill(tile, ...)      values laid out by tile beforehand (see BiasModifier)
///   bool same_planes() const                           true if fill gives every batch the same: laid out once a call
///   static constexpr bool kAddsPlane                   true if all it does with finite elements of its only plane is
///                                                      to add them: done where the scores are computed
///   T extra_logit<T>(batch, head)                      one more logit in the normaliser, without a value
///   static constexpr int kParameters, for_each_parameter(f)   tensors that it reads through `at` and that have a
///                                                      gradient: f(per_head(slopes)), f(per_pair(bias)), ..
/// Gradient: where a tape records, the modifier is evaluated on simd::Dual numbers: be generic in the batch type.
template <class F>
concept ScoreModifier = requires(const F& f, simd::Batch<float> s, const At<float, Lanes::kQueries>& at) {
  { f(s, at) } -> std::convertible_to<simd::Batch<float>>;
};

/// The score itself.
struct Identity : ScoreModifierBase {
  static constexpr bool kMayHide = false;
  template <class S, class A>
  S operator()(S s, const A&) const {
    return s;
  }
};

namespace detail {

template <class F>
inline constexpr bool kMayHideOf = [] {
  if constexpr (requires { F::kMayHide; }) {
    return F::kMayHide;
  } else {
    return true;
  }
}();

template <class F>
inline constexpr bool kAddsPlaneOf = [] {
  if constexpr (requires { F::kAddsPlane; }) {
    return F::kAddsPlane && kPlanesOf<F> == 1;
  } else {
    return false;
  }
}();

template <class F>
bool same_planes_of(const F& modifier) {
  if constexpr (requires { modifier.same_planes(); }) {
    return modifier.same_planes();
  } else {
    return kPlanesOf<F> == 0;
  }
}

template <class F>
concept HasExtraLogit = requires(const F& f) {
  f.template extra_logit<float>(Index(0), Index(0));
};

/// The tensor (H) of the extra logits, if it says so.
template <class F>
ScoreParameter extra_parameter_of(const F& modifier) {
  if constexpr (requires { modifier.extra_parameter(); }) {
    return modifier.extra_parameter();
  } else {
    return {};
  }
}

}  // namespace detail

/// A user's callable as a modifier that chains.
template <class F>
struct UserScore : ScoreModifierBase {
  F f;
  static constexpr int kParameters = detail::kParametersOf<F>;
  template <class Visitor>
  void for_each_parameter(Visitor&& visitor) const {
    detail::visit_parameters(f, visitor);
  }
  template <class S, class A>
  S operator()(S s, const A& at) const {
    return f(s, at);
  }
};

/// `first`, then `second` on its result.
template <class First, class Second>
struct Chain : ScoreModifierBase {
  First first;
  Second second;

  static constexpr int kPlanes = detail::kPlanesOf<First> + detail::kPlanesOf<Second>;
  static constexpr bool kMayHide = detail::kMayHideOf<First> || detail::kMayHideOf<Second>;
  static constexpr int kParameters = detail::kParametersOf<First> + detail::kParametersOf<Second>;

  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    return second(S(first(s, at)), detail::skip_planes<detail::kPlanesOf<First>>(at));
  }

  void check(const AttentionShape& shape) const {
    detail::check_part(first, shape);
    detail::check_part(second, shape);
  }

  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    detail::fill_planes(first, tile, plane, plane_size);
    detail::fill_planes(second, tile, plane + detail::kPlanesOf<First> * plane_size, plane_size);
  }
  bool same_planes() const { return detail::same_planes_of(first) && detail::same_planes_of(second); }

  template <class F>
  void for_each_parameter(F&& f) const {
    detail::visit_parameters(first, f);
    detail::visit_parameters(second, f);
  }
  ScoreParameter extra_parameter() const {
    const ScoreParameter own = detail::extra_parameter_of(first);
    return own.data ? own : detail::extra_parameter_of(second);
  }

  template <Real T>
  T extra_logit(Index batch, Index head) const requires(detail::HasExtraLogit<First> || detail::HasExtraLogit<Second>) {
    static_assert(!(detail::HasExtraLogit<First> && detail::HasExtraLogit<Second>),
                  "heed: only one modifier of a chain may add a logit to the softmax");
    if constexpr (detail::HasExtraLogit<First>) {
      return first.template extra_logit<T>(batch, head);
    } else {
      return second.template extra_logit<T>(batch, head);
    }
  }
};

/// Modifiers chain from left to right: `alibi(slopes) | softcap(30)` subtracts the distance, then caps.
template <class First, class Second>
requires(std::derived_from<First, ScoreModifierBase> || std::derived_from<Second, ScoreModifierBase>) auto operator|(
    First first, Second second) {
  static_assert(ScoreModifier<First> && ScoreModifier<Second>,
                "heed: each side of | must be a score modifier, callable as batch = f(batch, at) with "
                "[](auto s, const auto& at) { return s; }");
  return Chain<First, Second>{{}, std::move(first), std::move(second)};
}

/// Makes a lambda a modifier that can stand on either side of `|`.
template <class F>
auto score(F f) {
  static_assert(ScoreModifier<F>,
                "heed::score: the functor must be callable as batch = f(batch, at), for instance "
                "[](auto s, const auto& at) { return s - 0.1f * at.distance(); }");
  return UserScore<F>{{}, std::move(f)};
}

/// `modifier` where `enabled` is true, nothing otherwise: a choice at run time inside one kernel.
template <ScoreModifier F>
struct OptionalScore : ScoreModifierBase {
  F modifier;
  bool enabled;

  static constexpr int kPlanes = detail::kPlanesOf<F>;
  static constexpr bool kMayHide = detail::kMayHideOf<F>;
  static constexpr int kParameters = detail::kParametersOf<F>;

  template <class S, class A>
  HEED_INLINE S operator()(S s, const A& at) const {
    return enabled ? S(modifier(s, at)) : s;
  }
  void check(const AttentionShape& shape) const {
    if (enabled) detail::check_part(modifier, shape);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    if (enabled) detail::fill_planes(modifier, tile, plane, plane_size);
  }
  bool same_planes() const { return !enabled || detail::same_planes_of(modifier); }
  template <class Visitor>
  void for_each_parameter(Visitor&& f) const {
    detail::visit_parameters(modifier, [&](const ScoreParameter& x) { f(enabled ? x : ScoreParameter()); });
  }
  ScoreParameter extra_parameter() const { return enabled ? detail::extra_parameter_of(modifier) : ScoreParameter(); }
  template <Real T>
  T extra_logit(Index batch, Index head) const requires detail::HasExtraLogit<F> {
    return enabled ? modifier.template extra_logit<T>(batch, head) : -std::numeric_limits<T>::infinity();
  }
};

template <ScoreModifier F>
auto when(bool enabled, F modifier) {
  return OptionalScore<F>{{}, std::move(modifier), enabled};
}

}  // namespace heed::inline HEED_ISA
