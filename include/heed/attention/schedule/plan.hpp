// SPDX-License-Identifier: Apache-2.0
// Which kernel runs what: panels of queries, rows of few queries, and ranges of keys. The crossover points stand here,
// with the figures that put them there.
#pragma once

#include <atomic>

#include "heed/attention/panel_attention.hpp"
#include "heed/attention/row_attention.hpp"
#include "heed/core/device.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Queries beyond whole batches up to which the row kernel is the faster one: at D = 64 and 512 keys in cache it takes
/// 5 us a query, one more batch in a panel 39 us and a panel of one batch 59 us (AVX-512).
template <Real T>
inline constexpr Index kFewQueries = simd::kLanes<T> / 2;

/// Rows that the row kernel takes through one pass over the keys.
inline constexpr Index kMaxRows = 16;

// How one attention is cut into units of work. Everything follows from the sizes of a row's own head (N, M), never from
// the number of threads, batches or heads, so that a row's order of summation does not depend on those.
template <Real T>
struct Plan {
  Index panels = 0;         // panels of queries per head
  Index batches = 0;        // batches of queries in them, spread evenly: 5 as 3 + 2, not 4 + 1
  Index panel_queries = 0;  // queries that go through panels; the rest go through the row kernel
  Index row_queries = 0;
  Index splits = 1;  // ranges of keys
  Index split_keys = 0;

  explicit Plan(const AttentionShape& shape) {
    const Index n = shape.queries, m = shape.keys;
    const Index beyond = n % simd::kLanes<T>;
    row_queries = beyond <= kFewQueries<T> ? beyond : 0;
    panel_queries = n - row_queries;
    batches = (panel_queries + simd::kLanes<T> - 1) / simd::kLanes<T>;
    panels = (batches + kernel::kPanelBatches - 1) / kernel::kPanelBatches;
    split_keys = std::max<Index>(m, 1);
    if (n <= kFewQueries<T>) {
      constexpr Index kShortest = 1024, kMost = 64;  // a state is merged at the cost of a key or two
      split_keys = std::max(kShortest, (m / kMost + kShortest - 1) / kShortest * kShortest);
    } else if (panels <= 2 && m >= 8192) {
      split_keys = std::max<Index>(4096, (m / 16 + 95) / 96 * 96);
    }
    splits = std::max<Index>(1, (m + split_keys - 1) / split_keys);
  }

  Index first_query(Index panel) const {
    const Index batch = panel * (batches / panels) + std::min(panel, batches % panels);
    return std::min(batch * simd::kLanes<T>, panel_queries);
  }
};

template <class Problem>
void merge_splits(const Problem& p, const PartialRows<typename Problem::T>& partial, Index b, Index h, Index i) {
  using T = typename Problem::T;
  using Batch = simd::Batch<T>;
  const Index row = (b * p.shape.heads + h) * p.shape.queries + i;
  RowState<T> total;
  for (Index s = 0; s < partial.splits; ++s) {
    const T m = partial.states[partial.slot(row, s)].m;
    if (m > total.m || m != m) total.m = m;
  }
  const ScratchFrame frame;
  T* sum = const_cast<ScratchFrame&>(frame).take<T>(partial.width);
  std::fill(sum, sum + partial.width, T(0));
  for (Index s = 0; s < partial.splits; ++s) {
    const RowState<T>& part = partial.states[partial.slot(row, s)];
    if (part.m == -std::numeric_limits<T>::infinity() && part.l == T(0)) continue;
    const T weight = kernel::power<Problem::kBase>(part.m - total.m);
    total.l += part.l * weight;
    const T* values = partial.sums + partial.slot(row, s) * partial.width;
    for (Index d = 0; d < partial.width; d += simd::kLanes<T>)
      simd::fma(simd::load_aligned(values + d), Batch(weight), simd::load_aligned(sum + d)).store_aligned(sum + d);
  }
  const RowResult<T> result = finish_row<Problem::kBase, T>(total, p.sink(b, h));
  if (p.lse.data) p.lse(b, h, i) = result.lse;
  auto* out = p.out.at(b, h, i);
  for (Index d = 0; d < p.shape.value_width; ++d)
    out[d * p.out.stride(3)] = static_cast<typename Problem::Out>(sum[d] * result.factor);
}

/// Planes of all heads are laid out for a whole call while they take no more than this.
inline constexpr Index kMostSharedBytes = Index(1) << 20;

// Lays out the planes that the batches of a call share, if they do: small windows with one bias would else transpose it
// anew for each window, which costs as much as the queries and the outputs together.
template <class Problem>
void share_planes(const DeviceRef& device, Problem& p, ScratchFrame& frame) {
  using T = typename Problem::T;
  if constexpr (SharedPlanes<Problem>::kPossible) {
    const AttentionShape& shape = p.shape;
    const SharedPlanes<Problem> planes(shape);
    const Index size = planes.size(shape.heads);
    if (shape.batch < 2 || size * Index(sizeof(T)) > kMostSharedBytes || !same_planes_of(p.score)) return;
    T* const data = frame.take<T>(size);
    constexpr Index w = simd::kLanes<T>;
    const Index batches = (shape.queries + w - 1) / w;
    std::atomic<bool> finite = true;
    parallel_for(device, shape.heads * batches, [&](Index unit) {
      const Index head = unit / batches, batch = unit % batches;
      const PairTile pairs{0, head, batch * w, std::min(w, shape.queries - batch * w), 0, shape.keys};
      T* const plane = data + planes.place(head, batch, 0);
      fill_planes(p.score, pairs, plane, planes.plane_size());
      if (Problem::kAddsPlane && !kernel::all_finite<T>(plane, planes.kWidth, shape.keys, w))
        finite.store(false, std::memory_order_relaxed);
    });
    p.shared_planes = data;
    p.shared_planes_finite = finite;
  }
}

template <class Problem>
void run_plan(const DeviceRef& device, Problem p) {
  using T = typename Problem::T;
  const AttentionShape& shape = p.shape;
  if (shape.batch * shape.heads * shape.queries == 0) return;
  const Plan<T> plan(shape);

  ScratchFrame frame;
  share_planes(device, p, frame);
  PartialRows<T> partial;
  if (plan.splits > 1) {
    const Index rows = shape.batch * shape.heads * shape.queries;
    partial.splits = plan.splits;
    partial.width = kernel::padded<T>(shape.value_width);
    partial.states = frame.take<RowState<T>>(rows * plan.splits);
    partial.sums = frame.take<T>(rows * plan.splits * partial.width);
  }

  // Row units hold as many heads of a group as fit, so that they share one pass over the keys.
  const Index group = p.group();
  const Index unit_heads = plan.row_queries == 0 ? group : std::clamp<Index>(kMaxRows / plan.row_queries, 1, group);
  const Index head_units = plan.row_queries == 0 ? 0 : (group + unit_heads - 1) / unit_heads * shape.kv_heads;
  const Index panel_units = shape.heads * plan.panels;
  const Index per_batch = panel_units + head_units;

  const Index units = shape.batch * per_batch * plan.splits, step = thread_count(device);
  // The queries of the panel that this thread is likely to take next.
  const auto upcoming_queries = [&](Index unit) -> kernel::Upcoming {
    const Index u = unit / plan.splits % per_batch;
    if (unit >= units || u >= panel_units || p.q.stride(3) != 1) return {};
    const Index panel = plan.panels - 1 - u % plan.panels, first = plan.first_query(panel);
    return kernel::upcoming(p.q.at(unit / plan.splits / per_batch, u / plan.panels, first), p.q.stride(2),
                            plan.first_query(panel + 1) - first, shape.width);
  };
  parallel_for(device, units, [&](Index unit) {
    const Index split = unit % plan.splits;
    const Index b = unit / plan.splits / per_batch;
    const Index u = unit / plan.splits % per_batch;
    const Index begin = split * plan.split_keys;
    const Index end = std::min({shape.keys, begin + plan.split_keys, p.key_end(b)});
    const auto go = [&](auto&& kernel) {
      kernel.run(begin, end);
      if (plan.splits > 1) {
        kernel.finish(partial, split);
      } else {
        kernel.finish();
      }
    };
    if (u < panel_units) {
      // The last panels come first: under a causal rule they are the long ones.
      const Index panel = plan.panels - 1 - u % plan.panels;
      const Index first = plan.first_query(panel);
      go(PanelAttention<Problem>(p, b, u / plan.panels, first, plan.first_query(panel + 1) - first,
                                 upcoming_queries(unit + step)));
    } else {
      const Index per_group = head_units / shape.kv_heads;
      const Index within = (u - panel_units) % per_group * unit_heads;
      const Index head = (u - panel_units) / per_group * group + within;
      go(RowAttention<Problem>(p, b, head, std::min(unit_heads, group - within), plan.panel_queries, plan.row_queries));
    }
  });
  if (plan.splits > 1)
    parallel_for(device, shape.batch * shape.heads * shape.queries, [&](Index row) {
      merge_splits(p, partial, row / shape.queries / shape.heads, row / shape.queries % shape.heads,
                   row % shape.queries);
    });
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
