// SPDX-License-Identifier: Apache-2.0
// linear_attention: attention whose pair weights are products of features, by a state that is carried along the tokens.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/scan/feature_map.hpp"
#include "heed/scan/linear_attention_head.hpp"

namespace heed::inline HEED_ISA {

/// How linear_attention computes. All give the same to rounding.
enum class LinearForm {
  kAuto,       ///< kParallel or kChunked, whichever takes fewer operations
  kRecurrent,  ///< token by token through the state
  kChunked,    ///< pairs within a chunk of tokens, and the state between chunks: time linear in N
  kParallel    ///< all pairs, without a state: for sequences short against the number of features
};

struct LinearAttentionOptions {
  bool causal = true;
  LinearForm form = LinearForm::kAuto;
  Index chunk = 64;  ///< tokens, 1 or more
};

namespace detail {

template <class Map>
LinearPlan linear_plan(const LinearAttentionOptions& options, const Map& map, const std::array<Index, 4>& q,
                       const std::array<Index, 4>& k, const std::array<Index, 4>& v,
                       const std::array<Index, 4>& state) {
  constexpr std::string_view name = "linear_attention";
  require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3], name, "k must have shape (B, H, M, D) = (", q[0], ", ", q[1],
          ", M, ", q[3], "), got ", shape_text(k));
  require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], name, "v must have shape (B, H, M, Dv) = (", k[0], ", ", k[1],
          ", ", k[2], ", Dv), got ", shape_text(v));
  require(!options.causal || k[2] == q[2], name, "causal attention needs as many keys as queries, got ", k[2], " and ",
          q[2]);
  require(options.chunk > 0, name, "chunk must be 1 or more, got ", options.chunk);
  const Index features = map.size(q[3]);
  const std::array<Index, 4> expected{q[0], q[1], features, v[3]};
  bool empty = false;
  for (const Index size : state) empty |= size == 0;
  require(empty || state == expected, name, "state must be empty or have shape (B, H, F, Dv) = ", shape_text(expected),
          ", got ", shape_text(state));
  LinearForm form = options.form;
  // Multiply-adds for a query: (D + Dv) for each pair, half of them where it is causal, against F Dv for the reading of
  // the state and as many for each key's writing to it.
  if (form == LinearForm::kAuto)
    form = double(k[2]) * double(q[3] + v[3]) * (options.causal ? 0.5 : 1) < 2.0 * double(features) * double(v[3])
               ? LinearForm::kParallel
               : LinearForm::kChunked;
  return {features, form == LinearForm::kRecurrent ? 1 : options.chunk, options.causal, form == LinearForm::kParallel};
}

// f(device, unit) for all heads: each on a thread, or, where those are few, one after the other with all threads.
template <class D, class F>
void for_each_head(const D& device, Index heads, const F& f) {
  if (heads < thread_count(device)) {
    for (Index unit = 0; unit < heads; ++unit) f(DeviceRef(device), unit);
  } else {
    parallel_for(device, heads, [&](Index unit) { f(DeviceRef(), unit); });
  }
}

template <class T>
View<T, 2> head_of(const View<T, 4>& x, Index unit) {
  return x.data ? x.select(0, unit / x.size(1)).select(0, unit % x.size(1)) : View<T, 2>();
}

}  // namespace detail

/// out_i = sum over j of (phi(q_i) . phi(k_j)) v_j + phi(q_i) S, where j runs up to i, or over all keys if not causal:
/// attention without a softmax, for a feature map phi. S is the state of what came before, and end = S + sum over j of
/// phi(k_j) v_j^T that of what comes next, so that a sequence can be fed in pieces of any length.
///
///   linear_attention(device, IdentityFeatures(), q, k, v, state, {.causal = true}, out, end);
///
/// q (B, H, N, D), k (B, H, M, D), v (B, H, M, Dv), out (B, H, N, Dv); state and end (B, H, F, Dv) with F features, or
/// empty: zeros, and not wanted. Any strides, all float or all double. A normaliser is a column of ones in v. Causal
/// needs N = M; a later key or value never changes a result, NaN included. Throws heed::Error, before anything is
/// written, for shapes and options that do not fit. Time O(N F Dv + N chunk (D + Dv)) for each head, or O(N M (D + Dv))
/// in the parallel form; a thread's scratch holds a state and the features of a chunk. The same bits for any number of
/// threads.
///
/// linear_scan is the same recurrence with decay, the delta rule and shared heads, over features that its caller has
/// made. It does not serve here, nor this there: the features of a map exist only for a chunk at a time, and pairs that
/// are near each other cost the D channels of q . k instead of F, 64 instead of 2145 for TaylorFeatures.
///
/// Gradient: of q, k, v and state, linear_attention_backward; the states are computed again.
template <Device D, FeatureMap Map, TensorLike Q, TensorLike K, TensorLike V, TensorLike S, TensorLike O, TensorLike E>
void linear_attention(const D& device, const Map& map, const Q& q_like, const K& k_like, const V& v_like,
                      const S& state_like, const LinearAttentionOptions& options, O&& out_like, E&& end_like) {
  using T = ScalarOf<Q>;
  static_assert(Real<T> && std::same_as<T, ScalarOf<K>> && std::same_as<T, ScalarOf<V>> && std::same_as<T, ScalarOf<O>>,
                "heed::linear_attention: all tensors must be float, or all double");
  const auto q = const_view(q_like), k = const_view(k_like), v = const_view(v_like), state = const_view(state_like);
  const View<T, 4> out = view(out_like), end = view(end_like);
  const auto plan = detail::linear_plan(options, map, q.sizes, k.sizes, v.sizes, state.sizes);
  const std::array<Index, 4> expected{q.size(0), q.size(1), q.size(2), v.size(3)};
  require(out.sizes == expected, "linear_attention", "out must have shape (B, H, N, Dv) = ", shape_text(expected),
          ", got ", shape_text(out.sizes));
  const std::array<Index, 4> state_sizes{q.size(0), q.size(1), plan.features, v.size(3)};
  require(end.count() == 0 || end.sizes == state_sizes, "linear_attention",
          "the state's end must be empty or have shape (B, H, F, Dv) = ", shape_text(state_sizes), ", got ",
          shape_text(end.sizes));
  const View<const T, 4> start = state.count() > 0 ? state : View<const T, 4>();
  detail::for_each_head(device, q.size(0) * q.size(1), [&](const DeviceRef& on, Index unit) {
    const detail::LinearHead<T, Map> head{on,
                                          map,
                                          plan,
                                          detail::head_of(q, unit),
                                          detail::head_of(k, unit),
                                          detail::head_of(v, unit),
                                          detail::head_of(start, unit)};
    head.forward(detail::head_of(out, unit), end.count() > 0 ? detail::head_of(end, unit) : View<T, 2>());
  });
}
/// Without a state before or after.
template <Device D, FeatureMap Map, TensorLike Q, TensorLike K, TensorLike V>
auto linear_attention(const D& device, const Map& map, const Q& q, const K& k, const V& v,
                      const LinearAttentionOptions& options = {}) {
  using T = ScalarOf<Q>;
  const auto sizes = const_view(q).sizes;
  Tensor<T, 4> out(sizes[0], sizes[1], sizes[2], const_view(v).size(3));
  linear_attention(device, map, q, k, v, View<const T, 4>(), options, out, View<T, 4>());
  return out;
}

/// The gradients of linear_attention, added; a d_ view of null data is not wanted. d_end is that of the state after, of
/// null data for zeros.
template <Device D, FeatureMap Map, Real T>
void linear_attention_backward(const D& device, const Map& map, const View<const T, 4>& q, const View<const T, 4>& k,
                               const View<const T, 4>& v, const View<const T, 4>& state,
                               const LinearAttentionOptions& options, const View<const T, 4>& d_out,
                               const View<const T, 4>& d_end, const View<T, 4>& d_q, const View<T, 4>& d_k,
                               const View<T, 4>& d_v, const View<T, 4>& d_state) {
  const auto plan = detail::linear_plan(options, map, q.sizes, k.sizes, v.sizes, state.sizes);
  const View<const T, 4> start = state.count() > 0 ? state : View<const T, 4>();
  detail::for_each_head(device, q.size(0) * q.size(1), [&](const DeviceRef& on, Index unit) {
    const detail::LinearHead<T, Map> head{on,
                                          map,
                                          plan,
                                          detail::head_of(q, unit),
                                          detail::head_of(k, unit),
                                          detail::head_of(v, unit),
                                          detail::head_of(start, unit)};
    head.backward(detail::head_of(d_out, unit), detail::head_of(d_end, unit), detail::head_of(d_q, unit),
                  detail::head_of(d_k, unit), detail::head_of(d_v, unit), detail::head_of(d_state, unit));
  });
}

}  // namespace heed::inline HEED_ISA
