// SPDX-License-Identifier: Apache-2.0
// Products of windows: the lanes are neighbouring columns of a map, and each reads a few neighbours of its own.
#pragma once

#include <array>

#include "heed/kernel/panel.hpp"
#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Lines of queries, and neighbours, that share a pass over the depth: 4 x 6 sums leave registers for a key, a query of
/// each line and the lanes' places.
inline constexpr int kWindowLines = simd::kRegisters == 32 ? 4 : 2;
inline constexpr int kWindowSpan = simd::kRegisters == 32 ? 6 : 4;

namespace detail {

// scores[r][s * w + i] = sum over d of q[(r * depth + d) * w + i] * k[d * pitch + s + from[i]]; the maxima are taken
// along.
template <int R, int S, Real T>
HEED_NOINLINE void window_dot(const T* q, const T* k, Index pitch, Index depth, simd::IndexBatch<T> from,
                              T* const* scores, simd::Batch<T>* highest) {
  constexpr Index w = simd::kLanes<T>;
  Batch<T> acc[R][S];
  clear<T>(acc);
  for (Index d = 0; d < depth; ++d) {
    Batch<T> query[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) query[r] = simd::in_register<T>(simd::load_aligned(q + r * depth * w));
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const Batch<T> key = simd::permute<T>(simd::load(k + s), from);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r][s] = simd::fma(query[r], key, acc[r][s]);
    }
    q += w;
    k += pitch;
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    Batch<T> top = highest[r];
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      acc[r][s].store_aligned(scores[r] + s * w);
      top = simd::max(top, acc[r][s]);
    }
    highest[r] = top;
  }
}

template <Real T>
using WindowDot = void (*)(const T*, const T*, Index, Index, simd::IndexBatch<T>, T* const*, simd::Batch<T>*);

template <Real T>
inline constexpr auto kWindowDots = []<std::size_t... I>(std::index_sequence<I...>) {
  constexpr int span = kWindowSpan;
  return std::array<WindowDot<T>, sizeof...(I)>{&window_dot<int(I) / span + 1, int(I) % span + 1, T>...};
}
(std::make_index_sequence<std::size_t(kWindowLines* kWindowSpan)>());

}  // namespace detail

/// The scores of one line of keys: scores[r][s * kLanes + i] = q_r[i] . k[s + from[i]] for `lines` lines of queries and
/// `span` neighbours, both `depth` wide. q holds the lines one after the other, each (depth, kLanes); k (depth, pitch)
/// may be read kLanes elements from each neighbour on. highest[r] becomes the larger of itself and the scores.
template <Real T>
void window_dot(const T* q, int lines, const T* k, Index pitch, Index depth, simd::IndexBatch<T> from, Index span,
                T* const* scores, simd::Batch<T>* highest) {
  constexpr Index w = simd::kLanes<T>;
  const Index parts = (span + kWindowSpan - 1) / kWindowSpan;
  T* to[kWindowLines];
  for (Index part = 0, s = 0; part < parts; ++part) {
    const Index next = span * (part + 1) / parts;
    for (int r = 0; r < lines; ++r) to[r] = scores[r] + s * w;
    detail::kWindowDots<T>[std::size_t((lines - 1) * kWindowSpan + next - s - 1)](q, k + s, pitch, depth, from, to,
                                                                                  highest);
    s = next;
  }
}

/// Where the neighbours of a query lie: `span` rows, in `lines` lines, in `planes` planes.
struct WindowRows {
  Index planes = 1, lines = 1, span = 1;
  Index plane_step = 0, line_step = 0, step = 0;  ///< elements from one to the next
};

/// Queries whose sums are formed at once.
inline constexpr int kWindowQueries = 4;

/// What window_mix writes: `width` columns of `count` rows, `step` apart, the columns side by side.
template <Real T>
struct WindowTarget {
  T* data = nullptr;
  Index step = 0, count = kWindowQueries, width = 0;
};

namespace detail {

// acc[q] += the weight of query q times a row of v, for queries kFirst .. kLast; a query's weights begin a row of
// weights later than those of the query before it.
template <int kFirst, int kLast, Real T, int NV>
HEED_INLINE void mix_row(const T* weights, const T* v, Batch<T> (&acc)[kWindowQueries][NV]) {
  constexpr Index w = simd::kLanes<T>;
  Batch<T> row[NV];
#pragma GCC unroll 4
  for (int x = 0; x < NV; ++x) row[x] = simd::in_register<T>(simd::load(v + x * w));
#pragma GCC unroll 4
  for (int q = kFirst; q <= kLast; ++q) {
    const Batch<T> weight = simd::load_broadcast(weights - q * (w - 1));
#pragma GCC unroll 4
    for (int x = 0; x < NV; ++x) acc[q][x] = simd::fma(weight, row[x], acc[q][x]);
  }
}

// One line of neighbours of queries that each begin a row behind the one before: a row is loaded once for all queries
// that read it.
template <int NV, Real T>
HEED_INLINE void mix_sliding(const T* weights, const T* v, Index span, Index step,
                             Batch<T> (&acc)[kWindowQueries][NV]) {
  constexpr Index w = simd::kLanes<T>;
  const auto next = [&] { weights += w, v += step; };
  mix_row<0, 0>(weights, v, acc), next();
  mix_row<0, 1>(weights, v, acc), next();
  mix_row<0, 2>(weights, v, acc), next();
  for (Index s = 3; s < span; ++s) mix_row<0, 3>(weights, v, acc), next();
  mix_row<1, 3>(weights, v, acc), next();
  mix_row<2, 3>(weights, v, acc), next();
  mix_row<3, 3>(weights, v, acc);
}

// The same for queries that begin anywhere.
template <int NV, Real T>
HEED_INLINE void mix_separate(const T* weights, const T* v, const Index* starts, Index span, Index step,
                              Batch<T> (&acc)[kWindowQueries][NV]) {
  constexpr Index w = simd::kLanes<T>;
  const T *a = v + starts[0], *b = v + starts[1], *c = v + starts[2], *d = v + starts[3];
  for (Index s = 0; s < span; ++s) {
    const T* const at[kWindowQueries] = {a, b, c, d};
#pragma GCC unroll 4
    for (int q = 0; q < kWindowQueries; ++q) {
      const Batch<T> weight = simd::load_broadcast(weights + q);
#pragma GCC unroll 4
      for (int x = 0; x < NV; ++x) acc[q][x] = simd::fma(weight, simd::load(at[q] + x * w), acc[q][x]);
    }
    weights += w;
    a += step, b += step, c += step, d += step;
  }
}

}  // namespace detail

/// Row q of `to` = factor[q] * sum over neighbours n of weights[n * kLanes + q] * v[starts[q] + place of n + c] for up
/// to kWindowQueries queries q and NV batches of columns c; in the order of the neighbours.
template <int NV, Real T>
HEED_NOINLINE void window_mix(const T* weights, const T* v, const WindowRows& rows, const Index* starts,
                              const T* factor, const WindowTarget<T>& to) {
  using simd::Batch;
  constexpr Index w = simd::kLanes<T>;
  Batch<T> acc[kWindowQueries][NV];
  detail::clear<T>(acc);
  bool sliding = rows.span >= kWindowQueries;
  for (int q = 1; q < kWindowQueries; ++q) sliding = sliding && starts[q] == starts[q - 1] + rows.step;
  for (Index plane = 0; plane < rows.planes; ++plane)
    for (Index line = 0; line < rows.lines; ++line) {
      const T* const first = v + plane * rows.plane_step + line * rows.line_step;
      if (sliding) {
        detail::mix_sliding<NV, T>(weights, first + starts[0], rows.span, rows.step, acc);
      } else {
        detail::mix_separate<NV, T>(weights, first, starts, rows.span, rows.step, acc);
      }
      weights += rows.span * w;
    }
#pragma GCC unroll 4
  for (int q = 0; q < kWindowQueries; ++q) {
    if (q >= to.count) break;
#pragma GCC unroll 4
    for (int x = 0; x < NV; ++x)
      simd::store_partial<T>(acc[q][x] * Batch<T>(factor[q]), to.data + q * to.step + x * w,
                             std::min<Index>(w, to.width - x * w));
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
