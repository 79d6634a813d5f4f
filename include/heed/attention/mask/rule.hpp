// SPDX-License-Identifier: Apache-2.0
// Visibility rules: which keys a query sees, what lets the kernel skip the rest, and how rules compose.
#pragma once

#include <limits>

#include "heed/attention/at.hpp"

namespace heed::inline HEED_ISA {

/// Base of the library's rules and of any user's own that wants to take part in && || !.
struct VisibilityRuleBase {};

/// What some queries see of a run of keys.
enum class Seen { kNone, kSome, kAll };

/// From a key on, up to `end`, every key is seen by none, some or all of the queries asked about.
struct Run {
  Seen seen = Seen::kSome;
  Index end = std::numeric_limits<Index>::max();
};

inline constexpr Index kEndless = std::numeric_limits<Index>::max();

/// Consecutive queries [first, last) of one head, last > first.
struct QueryTile {
  Index batch = 0, head = 0, kv_head = 0;
  Index first = 0, last = 0;
  Index offset = 0;  ///< position(query) = query + offset
  Index keys = 0;    ///< M

  Index first_position() const { return first + offset; }
  Index last_position() const { return last - 1 + offset; }
};

/// A visibility rule is callable as `condition = rule(at)`, true where the query of a lane sees its key: a lambda
/// `[](const auto& at) { return at.key() <= at.position(); }` or a struct with such an operator(). Optional members:
///   Run run(const QueryTile&, Index key) const         what the tile sees from `key` on: skips what none sees and
///   drops the
///                                                      test where all do. kSome is always right; the test then
///                                                      decides.
///   Index key_count(Index batch, Index keys) const     fewer keys than the tensor has; moves the default positions too
///   void check(const AttentionShape&) const            throw heed::Error for arguments that do not fit the call
///   static constexpr int kPlanes, fill(tile, ...)      values laid out by tile beforehand (see BooleanMask)
///   static constexpr bool kWholeRuns                   true if a run ends where any whole batch of the tile's queries,
///                                                      counted from its first, begins or stops to see keys
///
/// No gradient: visibility is piecewise constant.
template <class R>
concept VisibilityRule = requires(const R& rule, const At<float, Lanes::kQueries>& at) {
  simd::as_mask<float>(rule(at));
};

/// Every key is visible.
struct Everything : VisibilityRuleBase {
  template <class A>
  auto operator()(const A&) const {
    return simd::Mask<typename A::Scalar>(true);
  }
  Run run(const QueryTile&, Index) const { return {Seen::kAll, kEndless}; }
};
inline Everything everything() { return {}; }

namespace detail {

template <class R>
HEED_INLINE Run run_of(const R& rule, const QueryTile& tile, Index key) {
  if constexpr (requires { rule.run(tile, key); }) {
    return rule.run(tile, key);
  } else {
    return {Seen::kSome, kEndless};
  }
}

template <class R>
inline constexpr bool kWholeRunsOf = [] {
  if constexpr (requires { R::kWholeRuns; }) {
    return R::kWholeRuns;
  } else {
    return false;
  }
}();

template <class R>
Index key_count_of(const R& rule, Index batch, Index keys) {
  if constexpr (requires { rule.key_count(batch, keys); }) {
    return rule.key_count(batch, keys);
  } else {
    return keys;
  }
}

template <class R, Real T, Lanes L>
HEED_INLINE simd::Mask<T> test(const R& rule, const At<T, L>& at) {
  return simd::as_mask<T>(rule(at));
}

}  // namespace detail

/// A user's callable as a rule that composes.
template <class F>
struct UserRule : VisibilityRuleBase {
  F f;
  template <class A>
  auto operator()(const A& at) const {
    return f(at);
  }
};

/// Makes a lambda a rule that can stand in && || !.
template <class F>
auto visible(F f) {
  static_assert(VisibilityRule<F>,
                "heed::visible: the functor must be callable as condition = f(at), for instance "
                "[](const auto& at) { return at.key() <= at.position(); }");
  return UserRule<F>{{}, std::move(f)};
}

template <class A, class B>
struct And : detail::Pair<VisibilityRuleBase, A, B> {
  using detail::Pair<VisibilityRuleBase, A, B>::a, detail::Pair<VisibilityRuleBase, A, B>::b;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    return detail::test(a, at) && detail::test(b, this->for_b(at));
  }
  Run run(const QueryTile& tile, Index key) const {
    const Run x = detail::run_of(a, tile, key);
    if (x.seen == Seen::kNone) return x;
    const Run y = detail::run_of(b, tile, key);
    if (y.seen == Seen::kNone) return y;
    return {std::min(x.seen, y.seen), std::min(x.end, y.end)};
  }
  Index key_count(Index batch, Index keys) const {
    return std::min(detail::key_count_of(a, batch, keys), detail::key_count_of(b, batch, keys));
  }
};

template <class A, class B>
struct Or : detail::Pair<VisibilityRuleBase, A, B> {
  using detail::Pair<VisibilityRuleBase, A, B>::a, detail::Pair<VisibilityRuleBase, A, B>::b;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    return detail::test(a, at) || detail::test(b, this->for_b(at));
  }
  Run run(const QueryTile& tile, Index key) const {
    const Run x = detail::run_of(a, tile, key);
    if (x.seen == Seen::kAll) return x;
    const Run y = detail::run_of(b, tile, key);
    if (y.seen == Seen::kAll) return y;
    return {std::max(x.seen, y.seen), std::min(x.end, y.end)};
  }
};

template <class A>
struct Not : VisibilityRuleBase {
  A a;
  static constexpr int kPlanes = detail::kPlanesOf<A>;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    return !detail::test(a, at);
  }
  Run run(const QueryTile& tile, Index key) const {
    const Run x = detail::run_of(a, tile, key);
    return {x.seen == Seen::kNone ? Seen::kAll : x.seen == Seen::kAll ? Seen::kNone : Seen::kSome, x.end};
  }
  void check(const AttentionShape& shape) const { detail::check_part(a, shape); }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    detail::fill_planes(a, tile, plane, plane_size);
  }
};

template <class A, class B>
requires(std::derived_from<A, VisibilityRuleBase> || std::derived_from<B, VisibilityRuleBase>) auto operator&&(A a,
                                                                                                               B b) {
  static_assert(VisibilityRule<A> && VisibilityRule<B>,
                "heed: each side of && must be a visibility rule, callable as condition = rule(at)");
  return And<A, B>{{{}, std::move(a), std::move(b)}};
}

template <class A, class B>
requires(std::derived_from<A, VisibilityRuleBase> || std::derived_from<B, VisibilityRuleBase>) auto operator||(A a,
                                                                                                               B b) {
  static_assert(VisibilityRule<A> && VisibilityRule<B>,
                "heed: each side of || must be a visibility rule, callable as condition = rule(at)");
  return Or<A, B>{{{}, std::move(a), std::move(b)}};
}

template <std::derived_from<VisibilityRuleBase> A>
auto operator!(A a) {
  return Not<A>{{}, std::move(a)};
}

/// `rule` where `enabled` is true, everything otherwise: a choice at run time inside one kernel.
template <VisibilityRule R>
struct OptionalRule : VisibilityRuleBase {
  R rule;
  bool enabled;
  static constexpr int kPlanes = detail::kPlanesOf<R>;

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& at) const {
    return enabled ? detail::test(rule, at) : simd::Mask<T>(true);
  }
  Run run(const QueryTile& tile, Index key) const {
    return enabled ? detail::run_of(rule, tile, key) : Run{Seen::kAll, kEndless};
  }
  Index key_count(Index batch, Index keys) const { return enabled ? detail::key_count_of(rule, batch, keys) : keys; }
  void check(const AttentionShape& shape) const {
    if (enabled) detail::check_part(rule, shape);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    if (enabled) detail::fill_planes(rule, tile, plane, plane_size);
  }
};

template <VisibilityRule R>
auto when(bool enabled, R rule) {
  return OptionalRule<R>{{}, std::move(rule), enabled};
}

}  // namespace heed::inline HEED_ISA
