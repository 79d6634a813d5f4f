// SPDX-License-Identifier: Apache-2.0
// The fused kernel along routes: panels of queries that read the same keys, wherever those queries are.
#pragma once

#include <vector>

#include "heed/attention/merge.hpp"
#include "heed/attention/schedule/routes.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Queries that share a unit of work: their sums, 512 KiB of them at 64 floats, stay in the second-level cache while
/// one run of keys after the other adds to them.
inline constexpr Index kRouteBand = 2048;

// Calls f(first, count) for panels of pairs of one head (of all batches' heads) that read the keys from one place on,
// of the queries [low, high).
template <Real T, class F>
void for_route_panels(const Routes& routes, Index head, Index low, Index high, const F& f) {
  const Index pairs = routes.query.dimension(2);
  const std::int32_t* const query = routes.query.data() + head * pairs;
  const std::int32_t* const begin = routes.begin.data() + head * pairs;
  for (Index p = 0; p < pairs && query[p] >= 0;) {
    Index end = p + 1;
    while (end < pairs && query[end] >= 0 && begin[end] == begin[p]) ++end;
    Index first = p, last = end;
    if (routes.by_query) {
      first = std::lower_bound(query + p, query + end, low) - query;
      last = std::lower_bound(query + first, query + end, high) - query;
    }
    for (; first < last; first += kernel::kPanelWidth<T>)
      f(first, std::min<Index>(kernel::kPanelWidth<T>, last - first));
    p = end;
  }
}

// Rows of a matrix that are used while the arithmetic of a panel runs, or soon after: fetched from further caches.
template <class U>
void fetch_rows(const U* data, Index stride, Index width, const std::int32_t* which, Index count, Index low = 0) {
  for (Index i = 0; i < count; ++i) kernel::upcoming(data + (which[i] - low) * stride, stride, 1, width).fetch(0, 1);
}

// Queries of one pair at the most: nothing to merge.
template <class D, class Problem>
void run_single_routes(const D& device, const Problem& p, const Routes& routes) {
  using T = typename Problem::T;
  const Index heads = p.shape.heads, queries = routes.place.dimension(2), pairs = routes.query.dimension(2);
  struct Panel {
    Index head, first, count;
  };
  std::vector<Panel> panels;
  for (Index head = 0; head < p.shape.batch * heads; ++head)
    for_route_panels<T>(routes, head, 0, queries, [&](Index first, Index count) {
      panels.push_back({head, first, count});
    });
  for_each_query(device, p.shape.batch, heads, queries, [&](Index b, Index h, Index i) {
    if (routes.place(b, h, i, 0) >= 0) return;
    for (Index d = 0; d < p.shape.value_width; ++d) p.out(b, h, i, d) = typename Problem::Out(0);
  });
  parallel_for(device, Index(panels.size()), [&](Index unit) {
    // The last panels come first: under a causal rule they are the long ones.
    const auto [head, first, count] = panels[panels.size() - 1 - std::size_t(unit)];
    const Index b = head / heads;
    PanelAttention<Problem> panel(p, b, head % heads, first, count, {}, routes.query.data() + head * pairs + first);
    panel.run(0, p.shape.keys);
    panel.finish();
  });
}

// p.shape counts pairs as queries; q and out have the queries themselves. Everything follows from the routes of a head,
// never from the number of threads, batches or heads.
template <class D, class Problem>
void run_routes(const D& device, const Problem& p, const Routes& routes) {
  using T = typename Problem::T;
  const Index heads = p.shape.heads, queries = routes.place.dimension(2), pairs = routes.query.dimension(2);
  const Index width = p.shape.value_width;
  if (routes.place.dimension(3) == 1) return run_single_routes(device, p, routes);
  const Index band = routes.by_query ? kRouteBand : std::max<Index>(queries, 1), bands = (queries + band - 1) / band;
  parallel_for(device, p.shape.batch * heads * bands, [&](Index unit) {
    const Index head = unit / bands, b = head / heads, h = head % heads;
    const Index low = unit % bands * band, high = std::min(queries, low + band);
    ScratchFrame frame;
    PartialRows<T> rows;
    rows.splits = 1;
    rows.width = kernel::padded<T>(width);
    rows.states = frame.take<RowState<T>>(high - low);
    rows.sums = frame.take<T>((high - low) * rows.width);
    std::fill_n(rows.states, high - low, RowState<T>());
    std::fill_n(rows.sums, (high - low) * rows.width, T(0));
    for_route_panels<T>(routes, head, low, high, [&](Index first, Index count) {
      const std::int32_t* const which = routes.query.data() + head * pairs + first;
      PanelAttention<Problem> panel(p, b, h, first, count, {}, which);
      fetch_rows(rows.sums, rows.width, rows.width, which, count, low);
      // The queries of the next panel, most often; behind the last pair there may be -1.
      const Index rest = std::min<Index>(pairs - first - count, count);
      if (rest > 0 && which[count + rest - 1] >= 0 && p.q.stride(3) == 1)
        fetch_rows(p.q.at(b, h, 0), p.q.stride(2), p.shape.width, which + count, rest);
      panel.run(routes.begin(b, h, first), p.shape.keys);
      panel.merge_into(rows, low);
    });
    for (Index i = low; i < high; ++i) {
      const RowResult<T> result = finish_row<Problem::kBase, T>(rows.states[i - low], p.sink(b, h));
      for (Index d = 0; d < width; d += simd::kLanes<T>)
        store_part<T>(simd::load_aligned(rows.sums + (i - low) * rows.width + d) * simd::Batch<T>(result.factor),
                      p.out.at(b, h, i), p.out.stride(3), d, width);
    }
  });
}

/// Runs an attention whose rule lets every pair of the routes see its keys.
struct RouteAccess {
  template <class D, class Score, class Rule, Real T>
  static void run(const D& device, const SoftmaxAttention<Score, Rule>& attend, const Routes& routes,
                  const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
                  const View<T, 4>& out) {
    const TensorSource<T, T> source{k, v};
    auto shape = attend.shape_of(q, source);
    auto pairs = q;
    pairs.sizes[2] = routes.query.dimension(2);
    attend.complete(pairs, shape);
    run_routes(device, attend.problem(q, source, shape, out, View<T, 3>()), routes);
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
