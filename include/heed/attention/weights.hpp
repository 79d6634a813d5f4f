// SPDX-License-Identifier: Apache-2.0
// The weights of a softmax attention as a matrix, for those who look at them: the fused kernel never has it.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Scores to exponentials on an aligned row of whole batches; returns their sum, the extra logit's with it.
template <kernel::Base B, Real T>
T weigh_row(T* row, Index width, T sink) {
  using Batch = simd::Batch<T>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  constexpr Index w = simd::kLanes<T>;
  const T sink_m = kernel::from_natural<B>(sink);
  Batch top(sink_m);
  for (Index j = 0; j < width; j += w) top = simd::max(top, simd::load_aligned(row + j));
  const T m = simd::reduce_max<T>(top);
  const T shift = m == kNone ? T(0) : m;
  Batch sum(T(0));
  for (Index j = 0; j < width; j += w) {
    const Batch x = simd::load_aligned(row + j);
    // A hidden key keeps weight 0 in a row that is NaN.
    const Batch p = simd::select(x == Batch(kNone), Batch(T(0)), kernel::power<B, T>(x - Batch(shift)));
    sum = sum + p;
    p.store_aligned(row + j);
  }
  return simd::reduce_add<T>(sum) + (sink == kNone ? T(0) : kernel::power<B>(sink_m - shift));
}

}  // namespace detail

/// weights(b, h, i, j) = exp(score) / Z over the visible keys, by which `attend` of the same score, rule and options
/// mixes the values: attend(q, k, v) is weights times v, up to rounding.
///
///   auto attend = heed::softmax_attention(heed::softcap(30), heed::causal());
///   Tensor<float, 4> weights = heed::attention_weights(attend, q, k);     // or (device, attend, q, k, weights)
///
/// q (B, H, N, D), k (B, Hk, M, D), weights (B, H, N, M), or all without B, or without B and H. A hidden key has weight
/// 0; a row that sees no key is 0. An extra logit (sink_logit) counts in Z, so that rows then sum to less than 1.
/// Throws heed::Error for shapes that do not fit. Time and memory O(N * M) and slower than the attention itself. The
/// same bits for any number of threads.
///
/// Gradient: of q and k, attention_weights_backward, for attention without score modifiers.
template <Device D, class Score, class Rule, TensorLike Q, TensorLike K, TensorLike W>
void attention_weights(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& query, const K& key,
                       W&& target) {
  constexpr std::string_view name = "attention_weights";
  constexpr int rank = kRankOf<Q>;
  using UQ = ScalarOf<Q>;
  using UK = ScalarOf<K>;
  using T = Compute<UQ>;
  const View<const UQ, 4> q = const_view(query).template promote<4>();
  const View<const UK, 4> k = const_view(key).template promote<4>();
  const auto weights = view(target).template promote<4>();
  static_assert(kRankOf<K> == rank && kRankOf<W> == rank, "heed::attention_weights: q, k and weights have one rank");
  static_assert(std::same_as<T, Compute<UK>>, "heed::attention_weights: double goes with double only");

  AttentionShape shape;
  shape.batch = q.size(0);
  shape.heads = q.size(1);
  shape.queries = q.size(2);
  shape.width = q.size(3);
  shape.kv_heads = k.size(1);
  shape.keys = k.size(2);
  shape.value_width = 1;
  require(k.size(0) == shape.batch && k.size(3) == shape.width, name, "k must have shape (B, Hk, M, D) = (",
          shape.batch, ", Hk, M, ", shape.width, "), got ", shape_text(k.sizes));
  require(shape.width > 0, name, "D must be 1 or more, got ", shape.width);
  require(shape.heads == 0 || (shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0), name,
          "the number of heads of q, ", shape.heads, ", must be a multiple of that of k, ", shape.kv_heads);
  const std::array<Index, 4> expected{shape.batch, shape.heads, shape.queries, shape.keys};
  require(weights.sizes == expected, name, "weights must have shape (B, H, N, M) = ", shape_text(expected), ", got ",
          shape_text(weights.sizes));
  require(!attend.options.scale || std::isfinite(T(*attend.options.scale)), name, "the scale must be finite, got ",
          attend.options.scale.value_or(0));
  detail::check_part(attend.score, shape);
  detail::check_part(attend.rule, shape);
  if (weights.count() == 0) return;

  using Source = TensorSource<UK, UK>;
  using Problem = detail::AttentionProblem<T, Score, Rule, Source, UQ, T>;
  const Source source{k, k};  // the scores ask for no value
  const T scale = T(attend.options.scale ? *attend.options.scale : 1.0 / std::sqrt(double(shape.width)));
  const Problem problem{shape, attend.score, attend.rule, source, q, {}, {}, scale, attend.options.position_offset};

  // Sixteen rows share a pass over the keys: as many heads of a group as there are, then as many queries.
  constexpr Index rows_at_once = 16;
  const Index heads = std::min(problem.group(), rows_at_once), queries = rows_at_once / heads;
  const Index head_units = (problem.group() + heads - 1) / heads;
  const Index query_units = (shape.queries + queries - 1) / queries;
  const Index width = kernel::padded<T>(shape.keys);
  parallel_for(device, shape.batch * shape.kv_heads * head_units * query_units, [&](Index unit) {
    const Index i = unit % query_units * queries, count = std::min(queries, shape.queries - i);
    const Index within = unit / query_units % head_units * heads, some = std::min(heads, problem.group() - within);
    const Index h = unit / query_units / head_units % shape.kv_heads * problem.group() + within;
    const Index b = unit / query_units / head_units / shape.kv_heads;
    ScratchFrame frame;
    T* rows = frame.take<T>(some * count * width);
    std::fill_n(rows, some * count * width, -std::numeric_limits<T>::infinity());
    const auto row = [&](Index head, Index query) { return rows + ((head - h) * count + query - i) * width; };
    detail::RowAttention<Problem>(problem, b, h, some, i, count)
        .scores(problem.key_end(b), [&](Index head, Index query, Index first, const T* scores, Index n) {
          std::copy_n(scores, n, row(head, query) + first);
        });
    for (Index head = h; head < h + some; ++head)
      for (Index query = i; query < i + count; ++query) {
        T* p = row(head, query);
        const T sum = detail::weigh_row<Problem::kBase, T>(p, width, problem.sink(b, head));
        for (Index j = 0; j < shape.keys; ++j)
          weights(b, head, query, j) = static_cast<ScalarOf<W>>(p[j] == T(0) ? T(0) : p[j] / sum);
      }
  });
}
template <Device D, class Score, class Rule, TensorLike Q, TensorLike K>
auto attention_weights(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& q, const K& k) {
  constexpr int rank = kRankOf<Q>;
  Eigen::DSizes<Index, rank> sizes;
  for (int axis = 0; axis < rank - 1; ++axis) sizes[std::size_t(axis)] = const_view(q).size(axis);
  sizes[rank - 1] = const_view(k).size(rank - 2);
  Tensor<Compute<ScalarOf<Q>>, rank> weights(sizes);
  attention_weights(device, attend, q, k, weights);
  return weights;
}
template <class Score, class Rule, TensorLike Q, TensorLike K>
auto attention_weights(const SoftmaxAttention<Score, Rule>& attend, const Q& q, const K& k) {
  return attention_weights(Eigen::DefaultDevice(), attend, q, k);
}

/// The gradients of attention_weights, added to d_q and d_k, of the shapes of q and k: with scale that of `attend`,
///
///   d_scores = weights * (d_weights - <weights, d_weights> of the row)
///   d_q += scale d_scores k          d_k += scale d_scores^T q, over the heads of a group
///
/// A view of null data is not wanted. A pair of weight 0 is not read, so that a hidden key changes no gradient. Sums in
/// the order of heads, queries and keys; the same bits for any number of threads. Time O(N M D), memory O(M).
template <Device D, class Rule, Real T>
void attention_weights_backward(const D& device, const SoftmaxAttention<Identity, Rule>& attend,
                                const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& weights,
                                const View<const T, 4>& d_weights, const View<T, 4>& d_q, const View<T, 4>& d_k) {
  if (d_weights.count() == 0) return;
  const Index heads = q.size(1), queries = q.size(2), keys = k.size(2), width = q.size(3), group = heads / k.size(1);
  const T scale = T(attend.options.scale ? *attend.options.scale : 1.0 / std::sqrt(double(width)));
  parallel_for(device, q.size(0) * k.size(1), [&](Index unit) {
    const Index b = unit / k.size(1), kv_head = unit % k.size(1);
    for (Index h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (Index i = 0; i < queries; ++i) {
        T mean = 0;
        for (Index j = 0; j < keys; ++j) mean += weights(b, h, i, j) * d_weights(b, h, i, j);
        for (Index j = 0; j < keys; ++j) {
          const T p = weights(b, h, i, j);
          if (p == T(0)) continue;
          const T d_score = scale * p * (d_weights(b, h, i, j) - mean);
          if (d_q.data)
            kernel::add_multiple(d_score, k.at(b, kv_head, j), k.stride(3), width, d_q.at(b, h, i), d_q.stride(3));
          if (d_k.data)
            kernel::add_multiple(d_score, q.at(b, h, i), q.stride(3), width, d_k.at(b, kv_head, j), d_k.stride(3));
        }
      }
  });
}

}  // namespace heed::inline HEED_ISA
