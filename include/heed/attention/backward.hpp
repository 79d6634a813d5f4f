// SPDX-License-Identifier: Apache-2.0
// softmax_attention_backward: the gradients of the fused attention.
#pragma once

#include <span>

#include "heed/attention/panel_backward.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// Where the gradient of a tensor that a score modifier reads is added: the modifier's tensor, found by its address,
/// and memory of the same layout.
template <Real T>
struct ParameterGradient {
  const void* data = nullptr;
  T* gradient = nullptr;
};
template <TensorLike X, class G>
auto gradient_of(const X& parameter, G& gradient) {
  return ParameterGradient<ScalarOf<G>>{const_view(parameter).data, view(gradient).data};
}

/// What softmax_attention_backward adds to. A view of null data is not wanted.
template <Real T>
struct AttentionGradients {
  View<T, 4> q, k, v;
  std::span<const ParameterGradient<T>> parameters = {};
};

namespace detail {

/// How the keys are cut: every range has the gradients of its keys to itself, and makes a part of those of the queries.
struct BackwardPlan {
  Index splits = 1, split_keys = 1;
  // Parts of dQ take splits times its memory; the keys' gradients of a range, 2 x 1024 x 64 floats, stay in the
  // second-level cache.
  explicit BackwardPlan(Index keys) {
    constexpr Index kShortest = 1024, kMost = 8;
    splits = std::clamp<Index>(keys / kShortest, 1, kMost);
    split_keys = std::max<Index>(1, (keys + splits - 1) / splits);
  }
};

template <class D, class Problem>
void run_backward(const D& device, const Problem& p, const AttentionGradients<typename Problem::T>& target) {
  using T = typename Problem::T;
  constexpr int kParameters = kParametersOf<typename Problem::Score>;
  const AttentionShape& shape = p.shape;
  const BackwardPlan plan(shape.keys);
  ScratchFrame frame;

  const auto wanted = [&](const ScoreParameter& x) -> T* {
    for (const auto& entry : target.parameters)
      if (x.data && entry.data == x.data) return entry.gradient;
    return nullptr;
  };
  ParameterSums<T, kParameters> all_sums;
  bool fold_batches = false, fold_heads = false;
  if constexpr (kParameters > 0) {
    std::size_t k = 0;
    p.score.for_each_parameter([&](const ScoreParameter& x) {
      ParameterSum<T>& sum = all_sums.sums[k];
      static_cast<ScoreParameter&>(sum) = x;
      sum.gradient = wanted(x);
      all_sums.parameters[k++] = x;
      if (!sum.gradient) return;
      sum.prepare(shape, plan.splits, frame);
      fold_batches |= sum.shared(0, shape.batch);
      fold_heads |= sum.shared(1, shape.heads);
    });
  }
  const ScoreParameter extra = extra_parameter_of(p.score);
  T* const extra_gradient = wanted(extra);
  T* extra_sums = frame.take<T>(shape.batch * shape.heads);
  std::fill_n(extra_sums, shape.batch * shape.heads, T(0));

  const Index width = kernel::padded<T>(shape.width), value_width = kernel::padded<T>(shape.value_width);
  const Index rows = shape.batch * shape.heads * shape.queries;
  T* const parts = plan.splits > 1 && target.q.data ? frame.take<T>(rows * plan.splits * width) : nullptr;
  const Index panels = (shape.queries + kernel::kPanelWidth<T> - 1) / kernel::kPanelWidth<T>;

  const auto attend_keys = [&](Index b, Index kv_head, Index split) {
    const Index begin = split * plan.split_keys, end = std::min(p.key_end(b), begin + plan.split_keys);
    const Index keys = std::max<Index>(end - begin, 0);
    ScratchFrame local;
    KeyGradients<T> d_keys{begin, width, value_width, local.take<T>(keys * width), local.take<T>(keys * value_width)};
    std::fill_n(d_keys.k, keys * width, T(0));
    std::fill_n(d_keys.v, keys * value_width, T(0));
    T* d_queries = local.take<T>(kernel::kPanelWidth<T> * width);
    ParameterSums<T, kParameters> sums = all_sums;
    sums.split = split;
    for (Index h = kv_head * p.group(); h < (kv_head + 1) * p.group(); ++h) {
      sums.head = b * shape.heads + h;
      for (Index panel = 0; panel < panels; ++panel) {
        const Index first = panel * kernel::kPanelWidth<T>;
        const Index count = std::min<Index>(kernel::kPanelWidth<T>, shape.queries - first);
        PanelBackward<Problem> panel_backward(p, b, h, first, count);
        panel_backward.run(begin, end, d_keys, sums);
        if (extra_gradient && split == 0) extra_sums[sums.head] += panel_backward.extra_gradient();
        if (!target.q.data) continue;
        if (parts) {
          const Index row = sums.head * shape.queries + first;
          T* part = parts + (row * plan.splits + split) * width;
          if (!panel_backward.finish(part, plan.splits * width))
            for (Index i = 0; i < count; ++i) std::fill_n(part + i * plan.splits * width, shape.width, T(0));
        } else if (panel_backward.finish(d_queries, width)) {
          kernel::add_rows<T>(d_queries, width, count, shape.width, T(1), target.q.at(b, h, first), target.q.stride(2),
                              target.q.stride(3));
        }
      }
    }
    if (keys == 0) return;
    if (target.k.data)
      kernel::add_rows<T>(d_keys.k, width, keys, shape.width, p.scale, target.k.at(b, kv_head, begin),
                          target.k.stride(2), target.k.stride(3));
    if (target.v.data)
      kernel::add_rows<T>(d_keys.v, value_width, keys, shape.value_width, T(1), target.v.at(b, kv_head, begin),
                          target.v.stride(2), target.v.stride(3));
  };

  // Heads that share elements of a bias are taken by one unit, one after the other.
  const Index batch_units = fold_batches ? 1 : shape.batch, head_units = fold_heads ? 1 : shape.kv_heads;
  parallel_for(device, batch_units * head_units * plan.splits, [&](Index unit) {
    const Index split = unit % plan.splits, head = unit / plan.splits % head_units;
    const Index batch = unit / plan.splits / head_units;
    for (Index b = batch; b < (fold_batches ? shape.batch : batch + 1); ++b)
      for (Index h = head; h < (fold_heads ? shape.kv_heads : head + 1); ++h) attend_keys(b, h, split);
  });
  if (parts)
    parallel_for(device, shape.batch * shape.heads, [&](Index head) {
      const T* part = parts + head * shape.queries * plan.splits * width;
      for (Index split = 0; split < plan.splits; ++split)
        kernel::add_rows<T>(part + split * width, plan.splits * width, shape.queries, shape.width, T(1),
                            target.q.at(head / shape.heads, head % shape.heads), target.q.stride(2),
                            target.q.stride(3));
    });
  if constexpr (kParameters > 0) {
    for (const auto& sum : all_sums.sums)
      if (sum.gradient) sum.finish(shape);
  }
  if (extra_gradient)
    for (Index head = 0; head < shape.batch * shape.heads; ++head)
      extra_gradient[head % shape.heads * extra.strides[1]] += extra_sums[head];
}

struct BackwardAccess {
  template <class D, class Score, class Rule, class UQ, class Source, class UO, class UD, class T>
  static void run(const D& device, const SoftmaxAttention<Score, Rule>& attend, const View<const UQ, 4>& q,
                  const Source& source, const View<const UO, 4>& out, const View<const T, 3>& lse,
                  const View<const UD, 4>& d_out, const View<const T, 3>& d_lse, const AttentionGradients<T>& target) {
    constexpr std::string_view kName = "softmax_attention_backward";
    AttentionShape shape = attend.shape_of(q, source);
    attend.complete(q, shape);
    const std::array<Index, 4> outs{shape.batch, shape.heads, shape.queries, shape.value_width};
    const std::array<Index, 3> rows{shape.batch, shape.heads, shape.queries};
    const auto check = [&](std::string_view name, const auto& got, const auto& want) {
      require(got == want, kName, name, " must have shape ", shape_text(want), ", got ", shape_text(got));
    };
    check("out", out.sizes, outs);
    check("d_out", d_out.sizes, outs);
    check("lse", lse.sizes, rows);
    if (d_lse.data) check("d_lse", d_lse.sizes, rows);
    if (target.q.data) check("d_q", target.q.sizes, q.sizes);
    if (target.k.data) check("d_k", target.k.sizes, source.k.sizes);
    if (target.v.data) check("d_v", target.v.sizes, source.v.sizes);
    const auto forward = attend.problem(q, source, shape, out, View<T, 3>());
    run_backward(device, BackwardProblem<std::remove_const_t<decltype(forward)>, UD>{forward, lse, d_out, d_lse},
                 target);
  }
};

}  // namespace detail

/// The gradients of attend(q, k, v) -> {out, lse}, from these results and their cotangents, added to `target`:
///
///   dV = P^T dO       dS = P (dO V^T - sum(dO O) + dlse)       dQ = scale dS' K       dK = scale dS'^T Q
///
/// where P = exp(score - lse) and dS' is dS through the score modifiers, which are evaluated on dual numbers; what
/// those declare to read (biases, slopes, tables, sink logits) gets its gradient where `target.parameters` names it.
///
/// Shapes as in the forward; lse (B, H, N) must be the forward's; d_lse may be a view of null data. Gradients are
/// float, or double where q is. A hidden pair contributes nothing, NaN and infinity included; a row that sees no key
/// has gradient 0. Throws heed::Error, before anything is written, for shapes that do not fit. Recomputed tile by tile
/// with the forward's skipping: time of 2.5 forwards, memory O(B H (N D min(8, M / 1024) + M)), the same bits for any
/// device. Source: Dao et al. 2022 (FlashAttention), algorithm 4.
template <Device D, class Score, class Rule, TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L,
          TensorLike DO, class T = Compute<ScalarOf<Q>>>
void softmax_attention_backward(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Q& q, const K& k,
                                const V& v, const O& out, const L& lse, const DO& d_out,
                                const View<const std::type_identity_t<T>, 3>& d_lse,
                                const AttentionGradients<std::type_identity_t<T>>& target) {
  static_assert(std::same_as<ScalarOf<L>, T>, "heed: lse must be float, or double where q is double");
  const TensorSource<ScalarOf<K>, ScalarOf<V>> source{const_view(k).template promote<4>(),
                                                      const_view(v).template promote<4>()};
  detail::BackwardAccess::run(device, attend, const_view(q).template promote<4>(), source,
                              const_view(out).template promote<4>(), const_view(lse).template promote<3>(),
                              const_view(d_out).template promote<4>(), d_lse, target);
}

}  // namespace heed::inline HEED_ISA
