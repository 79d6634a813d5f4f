// SPDX-License-Identifier: Apache-2.0
// The selective scan of as many channels as there are lanes.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/selective_scan.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

struct SelectiveScanOptions {
  bool delta_softplus = false;  ///< Delta = log(1 + e^x) of x = delta + delta_bias
  bool reverse = false;         ///< from the last token to the first
};

namespace detail {

/// What a selective scan is given, of const T, or the gradients of it, of T; null data where there is none.
template <class T>
struct ScanOperands {
  View<T, 3> u, delta;    // (B, E, L)
  View<T, 2> a;           // (E, n)
  View<T, 3> b, c;        // (B, n, L)
  View<T, 1> d;           // (E)
  View<T, 3> z;           // (B, E, L)
  View<T, 1> delta_bias;  // (E)
  View<T, 3> state;       // (B, E, n)
};

template <Real T>
Index lane_groups(Index channels) {
  return (channels + simd::kLanes<T> - 1) / simd::kLanes<T>;
}

/// One element of the batch and the channels of one group of lanes. In lanes without a channel u, A, D and the
/// gradients are 0.
template <Real T>
struct ScanLanes {
  using Batch = simd::Batch<T>;
  using Sequence = View<const T, 2>;  // (E, L) or (n, L)
  static constexpr Index w = simd::kLanes<T>;

  const ScanOperands<const T>& x;
  const SelectiveScanOptions& options;
  Index batch, channel, width, states, tokens;

  ScanLanes(const ScanOperands<const T>& operands, const SelectiveScanOptions& scan_options, Index b, Index group)
      : x(operands),
        options(scan_options),
        batch(b),
        channel(group * w),
        width(std::min(w, operands.u.size(1) - group * w)),
        states(operands.a.size(1)),
        tokens(operands.u.size(2)) {}

  void forward(const View<T, 3>& out, const View<T, 3>& end) const {
    constexpr Index most = 64;
    ScratchFrame frame;
    const Parameters p(*this, frame);
    T* const state = first_state(frame);
    const Rows rows(frame, most);
    for_each_chunk(most, [&](Index first, Index count) {
      const kernel::ScanChunk<T> chunk = read(p, rows, first, count);
      kernel::scan_chunk<false>(chunk, states, p.rate, state, rows.y, static_cast<T*>(nullptr));
      if (x.z.count() > 0) {
        load(x.z, first, count, rows.raw);
        for (Index i = 0; i < count * w; i += w)
          (simd::load_aligned(rows.y + i) * Silu().value<T>(simd::load_aligned(rows.raw + i)))
              .store_aligned(rows.y + i);
      }
      store<kernel::Write::kAssign>(rows.y, first, count, rows.turned, out);
    });
    if (end.data)
      for (Index i = 0; i < states; ++i)
        for (Index lane = 0; lane < width; ++lane) end(batch, channel + lane, i) = state[i * w + lane];
  }

  /// Where the sums of this group go: (n, L) over its channels, and over tokens those of A, D and delta_bias (n + 2,
  /// kLanes).
  struct Sums {
    T* b;
    T* c;
    T* lanes;
  };

  void backward(const View<const T, 3>& d_out, const View<const T, 3>& d_end, const ScanOperands<T>& d,
                const Sums& sums) const {
    constexpr Index most = 32;
    ScratchFrame frame;
    const Parameters p(*this, frame);
    T* const state = first_state(frame);
    const Rows rows(frame, most);
    const auto make = [&](Index count) { return frame.take<T>(count * w); };
    // The state that each chunk starts from.
    const Index chunks = (tokens + most - 1) / most;
    T* const starts = make(std::max<Index>(1, chunks) * states);
    T* start = starts;
    for_each_chunk(most, [&](Index first, Index count) {
      std::copy_n(state, states * w, start);
      start += states * w;
      kernel::scan_chunk<false>(read(p, rows, first, count), states, p.rate, state, rows.y, static_cast<T*>(nullptr));
    });

    T* const history = make(states * most);
    T *const d_y = make(most), *const d_input = make(most), *const d_step = make(most), *const both = make(2 * most);
    T* const d_state = make(states);
    std::fill_n(d_state, states * w, T(0));
    if (d_end.data) load_states(d_end, d_state);
    for (Index index = chunks - 1; index >= 0; --index) {
      const Index place = options.reverse ? chunks - 1 - index : index, first = place * most;
      const Index count = std::min(most, tokens - first);
      start = starts + index * states * w;
      const kernel::ScanChunk<T> chunk = read(p, rows, first, count);
      std::copy_n(start, states * w, state);
      kernel::scan_chunk<true>(chunk, states, p.rate, state, rows.y, history);
      load(d_out, first, count, d_y);
      if (x.z.count() > 0) gate_backward(rows, first, count, d_y, both, d.z);
      std::fill_n(d_input, count * w, T(0));
      std::fill_n(d_step, count * w, T(0));
      kernel::scan_chunk_backward<T>(chunk, states, p.rate, start, history, d_y,
                                     {d_state, sums.lanes, d_input, d_step, sums.b + first, sums.c + first, tokens},
                                     both);
      tokens_backward(p, rows, count, d_y, d_input, d_step, sums.lanes + states * w);
      store<kernel::Write::kAdd>(d_input, first, count, rows.turned, d.u);
      store<kernel::Write::kAdd>(d_step, first, count, rows.turned, d.delta);
    }
    if (d.state.data)
      for (Index i = 0; i < states; ++i)
        for (Index lane = 0; lane < width; ++lane) d.state(batch, channel + lane, i) += d_state[i * w + lane];
  }

 private:
  // What the lanes keep from token to token.
  struct Parameters {
    T* rate;  // (n, kLanes): A log2 e
    Batch bias, skip;

    Parameters(const ScanLanes& lanes, ScratchFrame& frame) : rate(frame.take<T>(lanes.states * w)) {
      for (Index i = 0; i < lanes.states; ++i)
        (simd::load_strided<T>(lanes.x.a.at(lanes.channel, i), lanes.x.a.stride(0), lanes.width) *
         T(1.442695040888963407L))
            .store_aligned(rate + i * w);
      bias = lanes.vector(lanes.x.delta_bias);
      skip = lanes.vector(lanes.x.d);
    }
  };
  struct Rows {
    T *u, *raw, *step, *input, *y, *turned;  // (tokens, kLanes)

    Rows(ScratchFrame& frame, Index count) {
      for (T** rows : {&u, &raw, &step, &input, &y, &turned}) *rows = frame.take<T>(count * w);
    }
  };

  Batch vector(const View<const T, 1>& values) const {
    return values.count() > 0 ? simd::load_strided<T>(values.at(channel), values.stride(0), width) : Batch(T(0));
  }

  template <class F>
  void for_each_chunk(Index most, const F& f) const {
    const Index chunks = (tokens + most - 1) / most;
    for (Index index = 0; index < chunks; ++index) {
      const Index first = (options.reverse ? chunks - 1 - index : index) * most;
      f(first, std::min(most, tokens - first));
    }
  }

  void load_states(const View<const T, 3>& from, T* state) const {
    for (Index i = 0; i < states; ++i)
      simd::load_strided<T>(from.at(batch, channel, i), from.stride(1), width).store_aligned(state + i * w);
  }
  T* first_state(ScratchFrame& frame) const {
    T* const state = frame.take<T>(states * w);
    std::fill_n(state, states * w, T(0));
    if (x.state.count() > 0) load_states(x.state, state);
    return state;
  }

  // Tokens of these channels as rows of lanes, and back; a vector of channels is a row where channels are neighbours in
  // memory, and squares are turned where tokens are.
  void load(const View<const T, 3>& from, Index first, Index count, T* rows) const {
    if (width < w) std::fill_n(rows, count * w, T(0));
    kernel::copy_rows<T>(from.at(batch, channel, first), from.stride(2), from.stride(1), count, width, rows, w);
  }
  template <kernel::Write write>
  void store(const T* rows, Index first, Index count, T* turned, const View<T, 3>& to) const {
    if (!to.data) return;
    const auto put = [&](const T* source, Index source_rows, Index length, Index step, Index row_step, Index inner) {
      T* const target = to.at(batch, channel, first);
      if constexpr (write == kernel::Write::kAdd) {
        kernel::add_rows<T>(source, step, source_rows, length, T(1), target, row_step, inner);
      } else if (inner == 1) {
        kernel::copy_rows<T>(source, step, 1, source_rows, length, target, row_step);
      } else {
        for (Index r = 0; r < source_rows; ++r)
          for (Index i = 0; i < length; ++i) target[r * row_step + i * inner] = source[r * step + i];
      }
    };
    if (to.stride(2) == 1) {
      kernel::copy_rows<T>(rows, 1, w, width, count, turned, count);
      put(turned, width, count, count, to.stride(1), 1);
    } else {
      put(rows, count, width, w, to.stride(2), to.stride(1));
    }
  }

  kernel::ScanChunk<T> read(const Parameters& p, const Rows& rows, Index first, Index count) const {
    load(x.u, first, count, rows.u);
    load(x.delta, first, count, rows.raw);
    for (Index i = 0; i < count * w; i += w) {
      const Batch u = simd::load_aligned(rows.u + i), raw = simd::load_aligned(rows.raw + i) + p.bias;
      const Batch step = options.delta_softplus ? Softplus().value<T>(raw) : raw;
      raw.store_aligned(rows.raw + i);
      step.store_aligned(rows.step + i);
      (step * u).store_aligned(rows.input + i);
      (p.skip * u).store_aligned(rows.y + i);
    }
    const auto part = [&](const View<const T, 3>& all) { return all.select(0, batch).slice(1, first, count); };
    return {count, options.reverse, rows.step, rows.input, part(x.b), part(x.c)};
  }

  // out = y silu(z): d_y from d_out in its place, and d_z. The chunk's y is at hand.
  void gate_backward(const Rows& rows, Index first, Index count, T* d_y, T* z, const View<T, 3>& d_z) const {
    load(x.z, first, count, z);
    T* const d_gate = z + count * w;
    for (Index i = 0; i < count * w; i += w) {
      const Batch d = simd::load_aligned(d_y + i), gate = simd::load_aligned(z + i);
      (d * simd::load_aligned(rows.y + i) * Silu().derivative<T>(gate)).store_aligned(d_gate + i);
      (d * Silu().value<T>(gate)).store_aligned(d_y + i);
    }
    store<kernel::Write::kAdd>(d_gate, first, count, rows.turned, d_z);
  }

  // From the gradients of Delta u (in d_input) and of the exponents (in d_step) to those of u and delta, in place.
  void tokens_backward(const Parameters& p, const Rows& rows, Index count, const T* d_y, T* d_input, T* d_step,
                       T* sums) const {
    Batch d_skip = simd::load_aligned(sums), d_bias = simd::load_aligned(sums + w);
    for (Index i = 0; i < count * w; i += w) {
      const Batch d = simd::load_aligned(d_y + i), input = simd::load_aligned(d_input + i);
      const Batch u = simd::load_aligned(rows.u + i);
      Batch d_raw = simd::fma(u, input, simd::load_aligned(d_step + i) * T(0.693147180559945309L));
      if (options.delta_softplus) d_raw = d_raw * Softplus().derivative<T>(simd::load_aligned(rows.raw + i));
      simd::fma(p.skip, d, simd::load_aligned(rows.step + i) * input).store_aligned(d_input + i);
      d_raw.store_aligned(d_step + i);
      d_skip = simd::fma(d, u, d_skip);
      d_bias = d_bias + d_raw;
    }
    d_skip.store_aligned(sums);
    d_bias.store_aligned(sums + w);
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
