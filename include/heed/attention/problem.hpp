// SPDX-License-Identifier: Apache-2.0
// One call of the fused attention as its kernels see it, and what they leave behind per row.
#pragma once

#include <cmath>
#include <optional>

#include "heed/attention/mask/rule.hpp"
#include "heed/attention/score/modifier.hpp"
#include "heed/attention/source.hpp"
#include "heed/kernel/softmax.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <Real T_, class Score_, class Rule_, class Source_, class UQ, class UO>
struct AttentionProblem {
  using T = T_;
  using Score = Score_;
  using Rule = Rule_;
  using Source = Source_;
  using Query = UQ;
  using Out = UO;
  static constexpr int kScorePlanes = kPlanesOf<Score>;
  static constexpr int kPlanes = kScorePlanes + kPlanesOf<Rule>;
  static constexpr bool kPlain = std::same_as<Score, Identity>;
  static constexpr bool kAddsPlane = kAddsPlaneOf<Score>;
  static constexpr kernel::Base kBase = kPlain ? kernel::Base::kTwo : kernel::Base::kE;

  AttentionShape shape;
  const Score& score;
  const Rule& rule;
  const Source& source;
  View<const UQ, 4> q;
  View<UO, 4> out;
  View<T, 3> lse;  // data is null when nobody asked
  T scale;
  std::optional<Index> fixed_offset;
  const T* shared_planes = nullptr;  // the score's planes of all heads, by SharedPlanes; null: each tile fills its own
  bool shared_planes_finite = false;

  /// Makes q.k a score of kBase: the modifiers are told natural ones.
  T query_scale() const { return kernel::from_natural<kBase>(scale); }

  Index group() const { return shape.heads / shape.kv_heads; }
  Index offset(Index b) const {
    return fixed_offset ? *fixed_offset : key_count_of(rule, b, shape.keys) - shape.queries;
  }
  Index key_end(Index b) const { return std::min(shape.keys, key_count_of(rule, b, shape.keys)); }
  T sink(Index b, Index h) const {
    if constexpr (HasExtraLogit<Score>) {
      return score.template extra_logit<T>(b, h);
    } else {
      return -std::numeric_limits<T>::infinity();
    }
  }
};

/// Planes of a score that are the same in every batch, laid out once for a whole call: [head][group of kPanelBatches
/// batches of queries][plane][key][column].
template <class Problem>
struct SharedPlanes {
  using T = typename Problem::T;
  static constexpr bool kPossible = Problem::kScorePlanes > 0 && Problem::kScorePlanes == Problem::kPlanes;
  static constexpr Index kLanes = simd::kLanes<T>, kWidth = kernel::kPanelWidth<T>;

  Index keys = 0, groups = 0;

  explicit SharedPlanes(const AttentionShape& shape)
      : keys(shape.keys), groups((shape.queries + kWidth - 1) / kWidth) {}
  Index plane_size() const { return keys * kWidth; }
  Index size(Index heads) const { return heads * groups * Problem::kScorePlanes * plane_size(); }
  /// Where a batch of queries meets a key, in the first plane.
  Index place(Index head, Index batch, Index key) const {
    return (head * groups + batch / kernel::kPanelBatches) * Problem::kScorePlanes * plane_size() + key * kWidth +
           batch % kernel::kPanelBatches * kLanes;
  }
};

/// What a row of attention has come to, in scores s of the problem's base: the running maximum m of them, the sum l of
/// base^(s - m), and beside it the sum of base^(s - m) v. m is -infinity when no key was visible.
template <Real T>
struct RowState {
  T m = -std::numeric_limits<T>::infinity();
  T l = 0;
};

/// The factor that turns a row's sum into its output, and its natural log-sum-exp, with the sink counted in.
template <Real T>
struct RowResult {
  T factor = 0;
  T lse = 0;
};
template <kernel::Base B, Real T>
RowResult<T> finish_row(RowState<T> state, T sink) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  const T sink_m = kernel::from_natural<B>(sink);
  const T top = sink_m > state.m ? sink_m : state.m;
  if (top == kNone && state.l == T(0)) return {T(0), kNone};
  T rise = T(1), l = state.l;
  if (sink != kNone) {
    rise = state.m == kNone ? T(0) : kernel::power<B>(state.m - top);
    l = state.l * rise + kernel::power<B>(sink_m - top);
  }
  return {rise / l, kernel::to_natural<B>(top) + std::log(l)};
}

/// Rows in pieces: the states and sums of `splits` key ranges per row of (b, h, i), merged in the order of the ranges.
template <Real T>
struct PartialRows {
  Index splits = 0, width = 0;  // width: of a sum, padded
  RowState<T>* states = nullptr;
  T* sums = nullptr;

  Index slot(Index row, Index split) const { return row * splits + split; }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
