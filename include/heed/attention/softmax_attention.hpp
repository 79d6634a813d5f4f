// SPDX-License-Identifier: Apache-2.0
// softmax_attention: the fused attention operator, composed at compile time.
#pragma once

#include <tuple>

#include "heed/attention/mask/standard.hpp"
#include "heed/attention/schedule/plan.hpp"
#include "heed/attention/score/standard.hpp"
#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

namespace detail {
struct BackwardAccess;
struct RouteAccess;
}  // namespace detail

struct SoftmaxOptions {
  /// Factor of q.k; none: 1 / sqrt(D).
  std::optional<double> scale = std::nullopt;
  /// position(query i) = i + position_offset, within 2^29 of 0; none: M - N, or key_lengths' lengths[b] - N. 0 aligns
  /// at the top left.
  std::optional<Index> position_offset = std::nullopt;
};

/// Where a call writes: `into(out)` or `into(out, lse)`, tensors of the right shape.
template <class UO, int Rank, class T>
struct Into {
  View<UO, Rank> out;
  View<T, Rank - 1> lse;   // data is null when not wanted
  bool wants_lse = false;  // a tensor without elements has no data either

  bool has_lse() const { return wants_lse || lse.data; }
};
template <TensorLike O>
auto into(O&& out) {
  const auto o = view(out);
  using U = typename decltype(o)::Scalar;
  static_assert(!std::is_const_v<U>, "heed::into: out must be writable");
  return Into<U, decltype(o)::rank, Compute<std::remove_const_t<U>>>{o, {}};
}
template <TensorLike O, TensorLike L>
auto into(O&& out, L&& lse) {
  const auto o = view(out);
  const auto l = view(lse);
  static_assert(!std::is_const_v<typename decltype(o)::Scalar> && !std::is_const_v<typename decltype(l)::Scalar>,
                "heed::into: out and lse must be writable");
  static_assert(decltype(l)::rank == decltype(o)::rank - 1, "heed::into: lse has the axes of out but the last");
  return Into<typename decltype(o)::Scalar, decltype(o)::rank, typename decltype(l)::Scalar>{o, l, true};
}

/// Where a recorded call writes: into(out) or into(out, lse), variables made by Tape::make or parts of them, that
/// nothing has read yet.
template <Recorded O, Recorded L>
struct IntoRecorded {
  O out;
  L lse;  // on no tape when not wanted

  bool has_lse() const { return lse.tape() != nullptr; }
};
/// What into() gives: Into, or IntoRecorded.
template <class X>
concept AttentionTarget = requires(const X& x) {
  requires Operand<decltype(x.out)> && Operand<decltype(x.lse)>;
  x.has_lse();
};
template <Recorded O>
auto into(const O& out) {
  using Lse = decltype(out.select(0, 0));
  return IntoRecorded<O, Lse>{out, Lse()};
}
template <Recorded O, Recorded L>
auto into(const O& out, const L& lse) {
  return IntoRecorded<O, L>{out, lse};
}

/// softmax(score(scale * q k^T)) v over the keys that the rule shows, in one pass over tiles that stay in cache.
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv), or the same without B, or without B and H; any sizes from 0 (D
/// and Dv from 1), any strides. Query head h reads key head floor(h * Hk / H). float, double, or bfloat16 and half as
/// storage, computed in float; out has q's type unless `into` says otherwise.
///   attend(q, k, v) -> out        attend.with_lse(q, k, v) -> {out, lse}
///   attend(q, k, v, into(out, lse))           attend(device, q, k, v, into(out, lse))
/// lse_i = log of the sum over visible keys of exp(score), natural. A row without a visible key gives 0 and -infinity.
/// Scores beyond 2^127 (double: 2^1023) count as infinite. A hidden key or value never changes a result, even as NaN,
/// and keys outside of the rule's runs are not read. Throws heed::Error, before anything is written, for shapes that do
/// not fit. Time O(visible pairs * (D + Dv)), no buffer of N x M, no allocation after the first call of a shape; the
/// same bits for any device, batch and number of heads.
/// Gradient: of q, k, v and of what the score modifiers read, by softmax_attention_backward; on a tape, attend(q, k, v)
/// and with_lse take heed::Var. Source: Vaswani et al. 2017, eq. 1; streaming normaliser of
/// Milakov and Gimelshein 2018.
template <ScoreModifier Score, VisibilityRule Rule>
struct SoftmaxAttention {
  Score score;
  Rule rule;
  SoftmaxOptions options = {};

  template <TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(Eigen::DefaultDevice(), q, k, v);
  }

  template <Device D, TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    auto out = make_out(q, v);
    (*this)(device, q, k, v, into(out));
    return out;
  }

  /// Recorded on the tape of the variables among q, k and v: variables out, or {out, lse}.
  template <Operand Q, Operand K, Operand V>
  requires AnyRecorded<Q, K, V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return std::get<0>(record(*this, Eigen::DefaultDevice(), q, k, v));
  }
  template <Device D, Operand Q, Operand K, Operand V>
  requires AnyRecorded<Q, K, V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    return std::get<0>(record(*this, device, q, k, v));
  }
  template <Operand Q, Operand K, Operand V>
  requires AnyRecorded<Q, K, V>
  auto with_lse(const Q& q, const K& k, const V& v) const { return record(*this, Eigen::DefaultDevice(), q, k, v); }
  template <Device D, Operand Q, Operand K, Operand V>
  requires AnyRecorded<Q, K, V>
  auto with_lse(const D& device, const Q& q, const K& k, const V& v) const { return record(*this, device, q, k, v); }
  template <Device D, Operand Q, Operand K, Operand V, Recorded O, Recorded L>
  requires AnyRecorded<Q, K, V>
  void operator()(const D& device, const Q& q, const K& k, const V& v, const IntoRecorded<O, L>& target) const {
    record_into(*this, device, q, k, v, target.out, target.lse);
  }

  /// {out, lse}.
  template <TensorLike Q, TensorLike K, TensorLike V>
  auto with_lse(const Q& q, const K& k, const V& v) const {
    return with_lse(Eigen::DefaultDevice(), q, k, v);
  }
  template <Device D, TensorLike Q, TensorLike K, TensorLike V>
  auto with_lse(const D& device, const Q& q, const K& k, const V& v) const {
    auto out = make_out(q, v);
    constexpr int rank = kRankOf<Q>;
    Eigen::DSizes<Index, rank - 1> sizes;
    for (int axis = 0; axis < rank - 1; ++axis) sizes[std::size_t(axis)] = const_view(q).size(axis);
    Tensor<Compute<ScalarOf<Q>>, rank - 1> lse(sizes);
    (*this)(device, q, k, v, into(out, lse));
    return std::make_tuple(std::move(out), std::move(lse));
  }

  template <TensorLike Q, TensorLike K, TensorLike V, class UO, int Rank, class L>
  void operator()(const Q& q, const K& k, const V& v, const Into<UO, Rank, L>& target) const {
    (*this)(Eigen::DefaultDevice(), q, k, v, target);
  }

  template <Device D, TensorLike Q, TensorLike K, TensorLike V, class UO, int Rank, class L>
  void operator()(const D& device, const Q& q, const K& k, const V& v, const Into<UO, Rank, L>& target) const {
    static_assert(kRankOf<Q> == Rank && kRankOf<K> == Rank && kRankOf<V> == Rank && Rank >= 2 && Rank <= 4,
                  "heed: q, k, v and out must have the same rank: (B, H, N, D), (H, N, D) or (N, D)");
    const TensorSource<ScalarOf<K>, ScalarOf<V>> source{const_view(k).template promote<4>(),
                                                        const_view(v).template promote<4>()};
    const View<const ScalarOf<Q>, 4> queries = const_view(q).template promote<4>();
    attend(device, queries, source, shape_of(queries, source), target.out.template promote<4>(),
           target.lse.template promote<3>(), target.has_lse());
  }

  /// The same over a source of keys and values (a cache, several tensors), of `keys` keys in `kv_heads` heads.
  template <Device D, TensorLike Q, KeyValueSource Source, class UO, int Rank, class L>
  void from(const D& device, const Q& q, const Source& source, Index kv_heads, Index keys, Index value_width,
            const Into<UO, Rank, L>& target) const {
    AttentionShape shape;
    shape.kv_heads = kv_heads;
    shape.keys = keys;
    shape.value_width = value_width;
    attend(device, View<const ScalarOf<Q>, 4>(const_view(q).template promote<4>()), source, shape,
           target.out.template promote<4>(), target.lse.template promote<3>(), target.has_lse());
  }

 private:
  friend struct detail::BackwardAccess;
  friend struct detail::RouteAccess;
  static constexpr std::string_view kName = "softmax_attention";

  template <class Q, class V>
  static auto make_out(const Q& q, const V& v) {
    constexpr int rank = kRankOf<Q>;
    static_assert(kRankOf<V> == rank, "heed: q, k and v must have the same rank");
    Eigen::DSizes<Index, rank> sizes;
    for (int axis = 0; axis < rank - 1; ++axis) sizes[std::size_t(axis)] = const_view(q).size(axis);
    sizes[rank - 1] = const_view(v).size(rank - 1);
    return Tensor<ScalarOf<Q>, rank>(sizes);
  }

  template <class UQ, class UK, class UV>
  static AttentionShape shape_of(const View<const UQ, 4>& q, const TensorSource<UK, UV>& source) {
    AttentionShape shape;
    shape.kv_heads = source.k.size(1);
    shape.keys = source.k.size(2);
    shape.value_width = source.v.size(3);
    for (int axis = 0; axis < 3; ++axis)
      require(source.k.size(axis) == source.v.size(axis), kName, "k and v must agree but for the last axis, got ",
              shape_text(source.k.sizes), " and ", shape_text(source.v.sizes));
    require(source.k.size(0) == q.size(0), kName, "k has batch size ", source.k.size(0), ", q has ", q.size(0));
    require(source.k.size(3) == q.size(3), kName, "k has width ", source.k.size(3), ", q has ", q.size(3));
    return shape;
  }

  // The sizes that q has, and what the options, score and rule say of all of them.
  template <class UQ>
  void complete(const View<const UQ, 4>& q, AttentionShape& shape) const {
    shape.batch = q.size(0);
    shape.heads = q.size(1);
    shape.queries = q.size(2);
    shape.width = q.size(3);
    require(shape.width > 0 && shape.value_width > 0, kName, "D and Dv must be 1 or more, got ", shape.width, " and ",
            shape.value_width);
    require(shape.heads == 0 || (shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0), kName,
            "the number of heads ", shape.heads, " must be a multiple of the number of key/value heads ",
            shape.kv_heads);
    require(!options.scale || std::isfinite(Compute<UQ>(*options.scale)), kName, "the scale must be finite, got ",
            options.scale.value_or(0));
    const Index moved = options.position_offset.value_or(0);
    require(moved >= -(Index(1) << 29) && moved <= Index(1) << 29, kName,
            "position_offset must be within 2^29 of 0, got ", moved);
    detail::check_part(score, shape);
    detail::check_part(rule, shape);
  }

  template <class UQ, class Source, class UO, class T>
  auto problem(const View<const UQ, 4>& q, const Source& source, const AttentionShape& shape, const View<UO, 4>& out,
               const View<T, 3>& lse) const {
    const T scale = T(options.scale ? *options.scale : 1.0 / std::sqrt(double(shape.width)));
    return detail::AttentionProblem<T, Score, Rule, Source, UQ, UO>{
        shape, score, rule, source, q, out, lse, scale, options.position_offset};
  }

  // The same code for every device and rank.
  template <class UQ, class Source, class UO, class L>
  void attend(const DeviceRef& device, const View<const UQ, 4>& q, const Source& source, AttentionShape shape,
              const View<UO, 4>& out, const View<L, 3>& lse, bool wants_lse) const {
    using T = Compute<UQ>;
    static_assert(Storage<UQ> && Storage<typename Source::Key> && Storage<typename Source::Value> && Storage<UO>,
                  "heed: tensors must hold float, double, bfloat16 or half");
    static_assert(std::same_as<T, Compute<typename Source::Key>> && std::same_as<T, Compute<typename Source::Value>>,
                  "heed: q, k and v must be computed in the same type: double goes with double only");
    static_assert(std::same_as<L, T>, "heed: lse must be float, or double where q is double");
    complete(q, shape);
    const std::array<Index, 4> expected{shape.batch, shape.heads, shape.queries, shape.value_width};
    require(out.sizes == expected, kName, "out must have shape ", shape_text(expected), ", got ",
            shape_text(out.sizes));
    if (wants_lse) {
      const std::array<Index, 3> rows{shape.batch, shape.heads, shape.queries};
      require(lse.sizes == rows, kName, "lse must have shape ", shape_text(rows), ", got ", shape_text(lse.sizes));
    }
    detail::run_plan(device, problem(q, source, shape, out, lse));
  }
};

/// Plain attention, every key visible.
inline auto softmax_attention(SoftmaxOptions options = {}) {
  return SoftmaxAttention<Identity, Everything>{{}, {}, options};
}
/// With a visibility rule, or with a score modifier.
template <class X>
auto softmax_attention(X x, SoftmaxOptions options = {}) {
  static_assert(
      VisibilityRule<X> || ScoreModifier<X>,
      "heed::softmax_attention: the argument must be a score modifier, callable as batch = f(batch, at), or a "
      "visibility rule, callable as condition = f(at)");
  if constexpr (VisibilityRule<X>) {
    return SoftmaxAttention<Identity, X>{{}, std::move(x), options};
  } else {
    return SoftmaxAttention<X, Everything>{std::move(x), {}, options};
  }
}
/// With both.
template <class Score, class Rule>
requires(!std::same_as<Rule, SoftmaxOptions>) auto softmax_attention(Score score, Rule rule,
                                                                     SoftmaxOptions options = {}) {
  static_assert(
      ScoreModifier<Score>,
      "heed::softmax_attention: the first argument must be a score modifier, callable as batch = f(batch, at) "
      "with [](auto s, const auto& at) { return s; }");
  static_assert(VisibilityRule<Rule>,
                "heed::softmax_attention: the second argument must be a visibility rule, callable as condition = f(at) "
                "with [](const auto& at) { return at.key() <= at.position(); }");
  return SoftmaxAttention<Score, Rule>{std::move(score), std::move(rule), options};
}

}  // namespace heed::inline HEED_ISA
