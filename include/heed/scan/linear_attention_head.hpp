// SPDX-License-Identifier: Apache-2.0
// Linear attention of one head: pairs within a chunk of tokens, a state between chunks.
#pragma once

#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/row_access.hpp"
#include "heed/kernel/triangle_product.hpp"
#include "heed/scan/feature_map.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

struct LinearPlan {
  Index features = 0, chunk = 1;
  bool causal = true, parallel = false;
};

/// One head of linear_attention. q (N, D), k (M, D), v (M, Dv), start (F, Dv) or of null data for zeros.
template <Real T, class Map>
struct LinearHead {
  using Matrix = View<T, 2>;
  using Constant = View<const T, 2>;

  const DeviceRef& device;
  const Map& map;
  LinearPlan plan;
  Constant q, k, v, start;

  void forward(const Matrix& out, const Matrix& end) const {
    ScratchFrame frame;
    const bool reads = !plan.parallel || start.data;
    const Matrix state = reads || end.data ? first_state(frame) : Matrix();
    const Matrix phi = make(frame, plan.chunk, state.data ? plan.features : 0);
    const Matrix weights = make(frame, plan.chunk, pairs());
    if (state.data && !plan.causal && !plan.parallel) add_keys(0, keys(), phi, state);
    for (Index row = 0; row < queries(); row += plan.chunk) {
      const Index count = std::min(plan.chunk, queries() - row);
      const Matrix target = out.slice(0, row, count);
      for (Index i = 0; i < count; ++i)
        for (Index c = 0; c < target.size(1); ++c) target(i, c) = 0;
      if (reads) kernel::add_product<T>(device, features(q.slice(0, row, count), phi), state, target);
      if (pairs() > 0) {
        const Span span = keys_of(row, count);
        const Matrix w = dots(row, count, span, weights);
        apply([&](auto s) { return map.template weight<T>(s); }, w, w);
        add_pairs(w, v, span, target);
      }
      if (plan.causal && !plan.parallel) add_keys(row, count, phi, state);
    }
    if (!end.data) return;
    if (plan.parallel) add_keys(0, keys(), phi, state);
    kernel::copy<kernel::Write::kAssign>(device, Constant(state), end);
  }

  // First along the tokens, with the state that each chunk read: d_q, and what pairs give to d_k and d_v; then back
  // with the gradient of the state.
  void backward(const Constant& d_out, const Constant& d_end, const Matrix& d_q, const Matrix& d_k, const Matrix& d_v,
                const Matrix& d_start) const {
    ScratchFrame frame;
    const bool reads = !plan.parallel || start.data;
    const Matrix state = first_state(frame), d_state = make(frame, plan.features, v.size(1));
    const Matrix phi = make(frame, plan.chunk, plan.features), d_phi = make(frame, plan.chunk, plan.features);
    const Matrix w = make(frame, plan.chunk, pairs()), s = make(frame, plan.chunk, pairs());
    if (!plan.causal && !plan.parallel) add_keys(0, keys(), phi, state);
    for (Index row = 0; row < queries(); row += plan.chunk) {
      const Index count = std::min(plan.chunk, queries() - row);
      const Constant d_rows = d_out.slice(0, row, count);
      if (reads && d_q.data) features_backward(q, row, count, product(d_rows, state, d_phi), d_q);
      if (pairs() > 0) pairs_backward(row, count, d_rows, w, s, d_q, d_k, d_v);
      if (plan.causal && !plan.parallel) add_keys(row, count, phi, state);
    }
    if (d_end.data) {
      kernel::copy<kernel::Write::kAssign>(device, d_end, d_state);
    } else {
      clear(d_state);
    }
    const auto queries_to_state = [&](Index row, Index count) {
      kernel::add_product<T>(device, features(q.slice(0, row, count), phi).permute({1, 0}), d_out.slice(0, row, count),
                             d_state);
    };
    const auto keys_from_state = [&](Index row, Index count) {
      if (d_k.data) features_backward(k, row, count, product(v.slice(0, row, count), d_state, d_phi), d_k);
      if (d_v.data)
        kernel::add_product<T>(device, features(k.slice(0, row, count), phi), d_state, d_v.slice(0, row, count));
    };
    if (plan.causal && !plan.parallel) {
      for (Index row = (queries() - 1) / plan.chunk * plan.chunk; row >= 0 && queries() > 0; row -= plan.chunk) {
        const Index count = std::min(plan.chunk, queries() - row);
        keys_from_state(row, count);
        queries_to_state(row, count);
      }
    } else {
      if (plan.parallel && d_end.data) in_chunks(keys(), keys_from_state);
      if (reads) in_chunks(queries(), queries_to_state);
      if (!plan.parallel) in_chunks(keys(), keys_from_state);
    }
    if (d_start.data) kernel::copy<kernel::Write::kAdd>(device, Constant(d_state), d_start);
  }

 private:
  struct Span {
    Index first, count;
  };

  Index queries() const { return q.size(0); }
  Index keys() const { return k.size(0); }

  static Matrix make(ScratchFrame& frame, Index rows, Index columns) {
    return rows * columns > 0 ? Matrix(frame.take<T>(rows * columns), {rows, columns}) : Matrix();
  }
  static void clear(const Matrix& x) { std::fill_n(x.data, x.count(), T(0)); }

  Matrix first_state(ScratchFrame& frame) const {
    const Matrix state = make(frame, plan.features, v.size(1));
    if (start.data) {
      kernel::copy<kernel::Write::kAssign>(device, start, state);
    } else {
      clear(state);
    }
    return state;
  }

  // The most keys that a chunk of queries meets in pairs.
  Index pairs() const { return plan.parallel ? keys() : plan.causal ? std::min(plan.chunk, keys()) : 0; }
  Span keys_of(Index row, Index count) const {
    if (!plan.causal) return {0, keys()};
    return plan.parallel ? Span{0, row + count} : Span{row, count};
  }

  template <class F>
  void in_chunks(Index rows, const F& f) const {
    for (Index row = 0; row < rows; row += plan.chunk) f(row, std::min(plan.chunk, rows - row));
  }

  Constant features(const Constant& rows, const Matrix& phi) const {
    ScratchFrame frame;
    T* const copy = frame.take<T>(rows.size(1));
    for (Index i = 0; i < rows.size(0); ++i)
      map.template features<T>(kernel::packed<T>(rows.at(i), rows.stride(1), rows.size(1), copy), rows.size(1),
                               phi.at(i));
    return phi.slice(0, 0, rows.size(0));
  }
  void features_backward(const Constant& x, Index row, Index count, const Matrix& d_phi, const Matrix& d_x) const {
    ScratchFrame frame;
    const Index width = x.size(1);
    T* const copy = frame.take<T>(width);
    T* const d_row = frame.take<T>(width);
    for (Index i = 0; i < count; ++i) {
      std::fill_n(d_row, width, T(0));
      map.template backward<T>(kernel::packed<T>(x.at(row + i), x.stride(1), width, copy), width, d_phi.at(i), d_row);
      kernel::add_multiple(T(1), d_row, 1, width, d_x.at(row + i), d_x.stride(1));
    }
  }

  // rows state^T.
  Matrix product(const Constant& rows, const Matrix& state, const Matrix& d_phi) const {
    const Matrix result = d_phi.slice(0, 0, rows.size(0));
    kernel::gemm(device, rows, Constant(state), View<const T, 1>(), result);
    return result;
  }
  void add_keys(Index first, Index count, const Matrix& phi, const Matrix& state) const {
    for (Index row = first; row < first + count; row += plan.chunk) {
      const Index some = std::min(plan.chunk, first + count - row);
      kernel::add_product<T>(device, features(k.slice(0, row, some), phi).permute({1, 0}), v.slice(0, row, some),
                             state);
    }
  }

  Matrix dots(Index row, Index count, const Span& span, const Matrix& to) const {
    const Matrix result(to.data, {count, span.count});
    kernel::gemm(device, q.slice(0, row, count), k.slice(0, span.first, span.count), View<const T, 1>(), result);
    return result;
  }
  template <class F, class... X>
  void apply(const F& f, const Matrix& out, const X&... x) const {
    kernel::elementwise<kernel::Write::kAssign, T>(device, f, out, Constant(x)...);
  }

  // sum += w x over the keys of the span; the last of them stand in the triangle where it is causal.
  void add_pairs(const Matrix& w, const Constant& x, const Span& span, const Matrix& sum) const {
    const Index square = plan.causal ? w.size(0) : 0, plain = span.count - square;
    kernel::add_product<T>(device, w.slice(1, 0, plain), x.slice(0, span.first, plain), sum);
    if (square > 0)
      kernel::add_triangle<false, T>(device, w.slice(1, plain, square), x.slice(0, span.first + plain, square), sum);
  }
  // sum, over the keys, += w^T x of the rows.
  void add_pairs_to_keys(const Matrix& w, const Constant& x, const Span& span, const Matrix& sum) const {
    const Index square = plan.causal ? w.size(0) : 0, plain = span.count - square;
    const Constant across = w.permute({1, 0});
    if (plain > 0) kernel::add_product<T>(device, across.slice(0, 0, plain), x, sum.slice(0, span.first, plain));
    if (square > 0)
      kernel::add_triangle<true, T>(device, across.slice(0, plain, square), x,
                                    sum.slice(0, span.first + plain, square));
  }

  void pairs_backward(Index row, Index count, const Constant& d_rows, const Matrix& w_memory, const Matrix& s_memory,
                      const Matrix& d_q, const Matrix& d_k, const Matrix& d_v) const {
    const Span span = keys_of(row, count);
    const Matrix s = dots(row, count, span, s_memory), w(w_memory.data, {count, span.count});
    if (d_v.data) {
      apply([&](auto x) { return map.template weight<T>(x); }, w, s);
      add_pairs_to_keys(w, d_rows, span, d_v);
    }
    if (!d_q.data && !d_k.data) return;
    kernel::gemm(device, d_rows, v.slice(0, span.first, span.count), View<const T, 1>(), w);
    apply([&](auto x, auto d) { return map.template slope<T>(x) * d; }, w, s, w);
    if (d_q.data) add_pairs(w, k, span, d_q.slice(0, row, count));
    if (d_k.data) add_pairs_to_keys(w, q.slice(0, row, count), span, d_k);
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
