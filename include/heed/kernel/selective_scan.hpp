// SPDX-License-Identifier: Apache-2.0
// A recurrence of many small states, one of each channel: the lanes are channels, so that no sum runs across them.
#pragma once

#include "heed/core/tensor.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/math.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// Some tokens of as many channels as there are lanes. Arrays are (count, kLanes) and aligned.
template <Real T>
struct ScanChunk {
  Index count = 0;
  bool reverse = false;      ///< from the last token to the first
  const T* step = nullptr;   ///< Delta
  const T* input = nullptr;  ///< Delta u
  View<const T, 2> b, c;     ///< (n, count), shared by all channels

  Index token(Index position) const { return reverse ? count - 1 - position : position; }
};

namespace detail {

// S states at a time: they, their rates and one row of sums stay in registers over all tokens.
template <int S, bool kKeep, Real T>
HEED_INLINE void scan_states(const ScanChunk<T>& chunk, Index i, const T* rate, T* state, T* y, T* history) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  Batch r[S], s[S];
#pragma GCC unroll 4
  for (int k = 0; k < S; ++k) {
    r[k] = simd::load_aligned(rate + (i + k) * w);
    s[k] = simd::load_aligned(state + (i + k) * w);
  }
  for (Index position = 0; position < chunk.count; ++position) {
    const Index t = chunk.token(position);
    const Batch step = simd::load_aligned(chunk.step + t * w), input = simd::load_aligned(chunk.input + t * w);
    Batch sum = simd::load_aligned(y + t * w);
#pragma GCC unroll 4
    for (int k = 0; k < S; ++k) {
      const Batch decay = simd::exp2<T>(step * r[k]);
      s[k] = simd::fma(decay, s[k], input * simd::load_broadcast(chunk.b.at(i + k, t)));
      sum = simd::fma(s[k], simd::load_broadcast(chunk.c.at(i + k, t)), sum);
      if constexpr (kKeep) s[k].store_aligned(history + ((i + k) * chunk.count + t) * w);
    }
    sum.store_aligned(y + t * w);
  }
#pragma GCC unroll 4
  for (int k = 0; k < S; ++k) s[k].store_aligned(state + (i + k) * w);
}

}  // namespace detail

/// s_i = 2^(step rate_i) s_i + input b_i, y += c_i s_i, token by token, for `states` states: rate and state (n,
/// kLanes), y (count, kLanes), and with kKeep history (n, count, kLanes), the states behind each token.
template <bool kKeep, Real T>
void scan_chunk(const ScanChunk<T>& chunk, Index states, const T* rate, T* state, T* y, T* history) {
  Index i = 0;
  for (; i + 4 <= states; i += 4) detail::scan_states<4, kKeep>(chunk, i, rate, state, y, history);
  for (; i < states; ++i) detail::scan_states<1, kKeep>(chunk, i, rate, state, y, history);
}

/// Where the gradients of a chunk go. All are added to, but d_state: that of the state behind the chunk becomes that of
/// the state before it.
template <Real T>
struct ScanGradients {
  T* state = nullptr;  ///< (n, kLanes)
  T* rate = nullptr;   ///< (n, kLanes), of rate / log2 e
  T* input = nullptr;  ///< (count, kLanes): the sum over i of b_i g_i, with g that of the states
  T* step = nullptr;   ///< (count, kLanes): the sum over i of rate_i times that of the exponent
  T* b = nullptr;      ///< (n, stride): the sum over the lanes
  T* c = nullptr;
  Index stride = 0;
};

namespace detail {

// sums[t] += the sum of the lanes of row t.
template <Real T>
void add_lane_sums(const T* rows, Index count, T* sums) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  for (Index t = 0; t < count; t += w) {
    const Index some = std::min(w, count - t);
    Batch square[w];
#pragma GCC unroll 16
    for (Index r = 0; r < w; ++r) square[r] = r < some ? simd::load_aligned(rows + (t + r) * w) : Batch(T(0));
    const Batch total = simd::reduce_add_rows<T>(square) + simd::load_strided<T>(sums + t, 1, some);
    simd::store_partial<T>(total, sums + t, some);
  }
}

}  // namespace detail

/// The gradients of scan_chunk with the history that it kept: start (n, kLanes) is the state before the chunk, d_y
/// (count, kLanes); `rows` has room for (2 count, kLanes).
template <Real T>
void scan_chunk_backward(const ScanChunk<T>& chunk, Index states, const T* rate, const T* start, const T* history,
                         const T* d_y, const ScanGradients<T>& d, T* rows) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  T* const of_b = rows;
  T* const of_c = rows + chunk.count * w;
  for (Index i = 0; i < states; ++i) {
    const Batch r = simd::load_aligned(rate + i * w);
    Batch g = simd::load_aligned(d.state + i * w), d_rate = simd::load_aligned(d.rate + i * w);
    const T* const kept = history + i * chunk.count * w;
    for (Index position = chunk.count - 1; position >= 0; --position) {
      const Index t = chunk.token(position);
      const Batch before = simd::load_aligned(position > 0 ? kept + chunk.token(position - 1) * w : start + i * w);
      const Batch step = simd::load_aligned(chunk.step + t * w), d_out = simd::load_aligned(d_y + t * w);
      g = simd::fma(d_out, simd::load_broadcast(chunk.c.at(i, t)), g);
      (d_out * simd::load_aligned(kept + t * w)).store_aligned(of_c + t * w);
      (g * simd::load_aligned(chunk.input + t * w)).store_aligned(of_b + t * w);
      simd::fma(g, simd::load_broadcast(chunk.b.at(i, t)), simd::load_aligned(d.input + t * w))
          .store_aligned(d.input + t * w);
      g = g * simd::exp2<T>(step * r);
      const Batch exponent = g * before;
      d_rate = simd::fma(exponent, step, d_rate);
      simd::fma(exponent, r, simd::load_aligned(d.step + t * w)).store_aligned(d.step + t * w);
    }
    g.store_aligned(d.state + i * w);
    d_rate.store_aligned(d.rate + i * w);
    detail::add_lane_sums(of_b, chunk.count, d.b + i * d.stride);
    detail::add_lane_sums(of_c, chunk.count, d.c + i * d.stride);
  }
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
