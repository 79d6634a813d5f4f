// SPDX-License-Identifier: Apache-2.0
// merge_attention_states: attention over disjoint sets of keys put together by their log-sum-exps.
#pragma once

#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// What the rows of one query are merged with, so that the weights sum to 1. A state of weight 0 is not read: it may
// hold anything.
template <Real T, class Lse>
T merge_weights(Index states, const Lse& lse_of, T* weights) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  T top = kNone;
  for (Index s = 0; s < states; ++s) {
    const T lse = lse_of(s);
    if (lse > top || lse != lse) top = lse;
  }
  T sum = 0;
  for (Index s = 0; s < states; ++s) {
    const T lse = lse_of(s);
    weights[s] = lse == kNone ? T(0) : std::exp(lse - top);
    sum += weights[s];
  }
  if (top == kNone) return kNone;
  for (Index s = 0; s < states; ++s) weights[s] /= sum;
  return top + std::log(sum);
}

template <Real T, class U>
HEED_INLINE simd::Batch<T> load_part(const U* row, Index stride, Index d, Index width) {
  const Index count = std::min<Index>(simd::kLanes<T>, width - d);
  if (stride == 1 && count < simd::kLanes<T>) return simd::load_partial<T>(row + d, count);
  return simd::load_strided<T>(row + d * stride, stride, count);
}
template <Real T, class U>
HEED_INLINE void store_part(simd::Batch<T> x, U* row, Index stride, Index d, Index width) {
  const Index count = std::min<Index>(simd::kLanes<T>, width - d);
  if (stride == 1) {
    simd::store_partial<T>(x, row + d, count);
    return;
  }
  alignas(64) T lanes[simd::kLanes<T>];
  x.store_aligned(lanes);
  for (Index lane = 0; lane < count; ++lane) row[(d + lane) * stride] = static_cast<U>(lanes[lane]);
}

/// Queries of a unit of work.
inline constexpr Index kMergeRows = 64;

// Calls body(b, h, i) for every query, many of them per unit.
template <class D, class Body>
void for_each_query(const D& device, Index batch, Index heads, Index queries, const Body& body) {
  const Index units = (queries + kMergeRows - 1) / kMergeRows;
  parallel_for(device, batch * heads * units, [&](Index unit) {
    const Index first = unit % units * kMergeRows, last = std::min(queries, first + kMergeRows);
    for (Index i = first; i < last; ++i) body(unit / units / heads, unit / units % heads, i);
  });
}

}  // namespace detail

/// Attention over the union of S disjoint sets of keys, from the attention over each:
///
///   lse = log sum over s of exp(lses_s)          out = sum over s of exp(lses_s - lse) outputs_s
///
/// outputs (S, B, H, N, D) of float, double, bfloat16 or half, lses (S, B, H, N) of float (double where outputs are),
/// natural logarithms; out (B, H, N, D), lse (B, H, N). S from 0, any strides.
///   merge_attention_states(outputs, lses) -> {out, lse}
///   merge_attention_states(device, outputs, lses, into(out, lse))
/// A state of -infinity saw no key and contributes nothing, whatever its output holds; where all are, the result is 0
/// and -infinity. Throws heed::Error, before anything is written, for shapes that do not fit. O(S B H N D); the same
/// bits on any device. Source: the log-sum-exp update of ring attention (Liu et al. 2023; ring-flash-attention).
///
/// Gradient: of outputs and lses, merge_attention_states_backward.
template <Device D, TensorLike O, TensorLike L, class UO, class T>
void merge_attention_states(const D& device, const O& outputs_like, const L& lses_like, const Into<UO, 4, T>& target) {
  constexpr std::string_view kName = "merge_attention_states";
  static_assert(kRankOf<O> == 5 && kRankOf<L> == 4,
                "heed::merge_attention_states: outputs are (S, B, H, N, D), lses (S, B, H, N)");
  static_assert(std::same_as<T, Compute<ScalarOf<O>>> && std::same_as<T, ScalarOf<L>>,
                "heed::merge_attention_states: lses and lse must be float, or double where outputs are double");
  const auto outputs = const_view(outputs_like);
  const auto lses = const_view(lses_like);
  const std::array<Index, 4> states{outputs.size(0), outputs.size(1), outputs.size(2), outputs.size(3)};
  const std::array<Index, 4> shape{outputs.size(1), outputs.size(2), outputs.size(3), outputs.size(4)};
  const std::array<Index, 3> rows{shape[0], shape[1], shape[2]};
  require(lses.sizes == states, kName, "lses must have shape (S, B, H, N) = ", shape_text(states), ", got ",
          shape_text(lses.sizes));
  require(target.out.sizes == shape, kName, "out must have shape (B, H, N, D) = ", shape_text(shape), ", got ",
          shape_text(target.out.sizes));
  require(!target.has_lse() || target.lse.sizes == rows, kName, "lse must have shape (B, H, N) = ", shape_text(rows),
          ", got ", shape_text(target.lse.sizes));
  detail::for_each_query(device, shape[0], shape[1], shape[2], [&](Index b, Index h, Index i) {
    ScratchFrame frame;
    T* weights = frame.take<T>(states[0]);
    const T lse = detail::merge_weights<T>(
        states[0], [&](Index s) { return lses(s, b, h, i); }, weights);
    if (target.lse.data) target.lse(b, h, i) = lse;
    UO* out = target.out.at(b, h, i);
    for (Index d = 0; d < shape[3]; d += simd::kLanes<T>) {
      simd::Batch<T> sum(T(0));
      for (Index s = 0; s < states[0]; ++s) {
        if (weights[s] == T(0)) continue;
        const auto part = detail::load_part<T>(outputs.at(s, b, h, i), outputs.stride(4), d, shape[3]);
        sum = simd::fma(part, simd::Batch<T>(weights[s]), sum);
      }
      detail::store_part<T>(sum, out, target.out.stride(3), d, shape[3]);
    }
  });
}
template <Device D, TensorLike O, TensorLike L>
auto merge_attention_states(const D& device, const O& outputs, const L& lses) {
  const auto o = const_view(outputs);
  Tensor<ScalarOf<O>, 4> out(o.size(1), o.size(2), o.size(3), o.size(4));
  Tensor<Compute<ScalarOf<O>>, 3> lse(o.size(1), o.size(2), o.size(3));
  merge_attention_states(device, outputs, lses, into(out, lse));
  return std::make_tuple(std::move(out), std::move(lse));
}
template <Operand O, Operand L>
auto merge_attention_states(const O& outputs, const L& lses) {
  return merge_attention_states(DeviceRef(), outputs, lses);
}

/// The gradients of merge_attention_states, added: with w_s = exp(lses_s - lse),
///
///   d_outputs_s += w_s d_out         d_lses_s += w_s (<d_out, outputs_s - out> + d_lse)
///
/// Shapes as of outputs, lses, out and lse; a view of null data is not wanted. A state that contributed nothing has the
/// gradient 0, whatever its output holds. The same bits on any device.
template <Device D, Real T>
void merge_attention_states_backward(const D& device, const View<const T, 5>& outputs, const View<const T, 4>& lses,
                                     const View<const T, 4>& d_out, const View<const T, 3>& d_lse,
                                     const View<T, 5>& d_outputs, const View<T, 4>& d_lses) {
  const Index states = outputs.size(0), width = outputs.size(4);
  detail::for_each_query(device, outputs.size(1), outputs.size(2), outputs.size(3), [&](Index b, Index h, Index i) {
    ScratchFrame frame;
    T* weights = frame.take<T>(states);
    T* along = frame.take<T>(states);  // <d_out, outputs_s>
    detail::merge_weights<T>(
        states, [&](Index s) { return lses(s, b, h, i); }, weights);
    const T* d = width > 0 ? d_out.at(b, h, i) : nullptr;
    T mean = 0;
    for (Index s = 0; s < states; ++s) {
      if (weights[s] == T(0)) continue;
      simd::Batch<T> sum(T(0));
      for (Index c = 0; c < width; c += simd::kLanes<T>) {
        const auto part = detail::load_part<T>(d, d_out.stride(3), c, width);
        sum = simd::fma(detail::load_part<T>(outputs.at(s, b, h, i), outputs.stride(4), c, width), part, sum);
        if (!d_outputs.data) continue;
        T* target = d_outputs.at(s, b, h, i);
        const auto old = detail::load_part<T>(target, d_outputs.stride(4), c, width);
        detail::store_part<T>(simd::fma(part, simd::Batch<T>(weights[s]), old), target, d_outputs.stride(4), c, width);
      }
      along[s] = simd::reduce_add<T>(sum);
      mean += weights[s] * along[s];
    }
    if (!d_lses.data) return;
    for (Index s = 0; s < states; ++s)
      if (weights[s] != T(0)) d_lses(s, b, h, i) += weights[s] * (along[s] - mean + d_lse(b, h, i));
  });
}

/// Takes the attention over more keys, more_out (B, H, N, D) and more_lse (B, H, N), into out and lse, in place: the
/// step of a ring, a cache or keys that come block by block. out and lse start as 0 and -infinity, or as the first
/// block's result. Rows whose more_lse is -infinity keep their bits; otherwise as merge_attention_states.
template <Device D, class UO, class T, TensorLike O, TensorLike L>
void merge_attention_state(const D& device, const Into<UO, 4, T>& state, const O& more_out, const L& more_lse) {
  constexpr std::string_view kName = "merge_attention_state";
  static_assert(std::same_as<T, Compute<UO>> && std::same_as<T, Compute<ScalarOf<O>>> && std::same_as<T, ScalarOf<L>>,
                "heed::merge_attention_state: both lse must be float, or double where the outputs are double");
  const View<const ScalarOf<O>, 4> more = const_view(more_out);
  const View<const T, 3> lse = const_view(more_lse);
  const auto& shape = state.out.sizes;
  const std::array<Index, 3> rows{shape[0], shape[1], shape[2]};
  require(more.sizes == shape, kName, "more_out must have the shape of out, ", shape_text(shape), ", got ",
          shape_text(more.sizes));
  require(state.has_lse(), kName, "needs the state's lse: pass into(out, lse)");
  require(state.lse.sizes == rows, kName, "lse must have shape ", shape_text(rows), ", got ",
          shape_text(state.lse.sizes));
  require(lse.sizes == rows, kName, "more_lse must have shape ", shape_text(rows), ", got ", shape_text(lse.sizes));
  detail::for_each_query(device, shape[0], shape[1], shape[2], [&](Index b, Index h, Index i) {
    T weights[2];
    const T both[2] = {state.lse(b, h, i), lse(b, h, i)};
    if (both[1] == -std::numeric_limits<T>::infinity()) return;
    state.lse(b, h, i) = detail::merge_weights<T>(
        2, [&](Index s) { return both[s]; }, weights);
    UO* out = state.out.at(b, h, i);
    const simd::Batch<T> zero(T(0));
    for (Index d = 0; d < shape[3]; d += simd::kLanes<T>) {
      const auto part = [&](const auto* row, Index stride, T weight) {
        if (weight == T(0)) return zero;
        return simd::Batch<T>(detail::load_part<T>(row, stride, d, shape[3]) * simd::Batch<T>(weight));
      };
      detail::store_part<T>(
          part(out, state.out.stride(3), weights[0]) + part(more.at(b, h, i), more.stride(3), weights[1]), out,
          state.out.stride(3), d, shape[3]);
    }
  });
}
template <class UO, class T, TensorLike O, TensorLike L>
void merge_attention_state(const Into<UO, 4, T>& state, const O& more_out, const L& more_lse) {
  merge_attention_state(Eigen::DefaultDevice(), state, more_out, more_lse);
}

}  // namespace heed::inline HEED_ISA
