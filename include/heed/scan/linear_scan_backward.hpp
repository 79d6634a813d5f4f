// SPDX-License-Identifier: Apache-2.0
// The gradients of linear_scan for one key head: along the chunks for their states, then back with the state's own.
#pragma once

#include "heed/scan/linear_scan_forward.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Where a head's gradients are added to; views of null data are not wanted.
template <Real T>
struct ScanGradients {
  View<T, 3> q;                         // (G, N, D)
  View<T, 2> k, v, decay, beta, state;  // as in ScanHead
};

/// With d_y the gradient of what a reader read (pairs x + reach state), that of the state after the chunk d_S:
///
///   d_x = pairs^T d_y + keys d_S,  d_pairs = d_y x^T,  d_state = e^G_end d_S + reach^T d_y
///   d_q_i = sum over j of d_pairs_ij e^(G_i - G_j) k_j + e^G_i d_y_i state^T
///   d_k_j = sum over i of d_pairs_ij e^(G_i - G_j) q_i + e^(G_end - G_j) x_j d_S^T
///
/// and of the logarithms g_t = sum over i >= t of (q_i d_q_i - k_i d_k_i), within the chunk, + S d_S at its end: a G_i
/// stands beside each q_i, a -G_i beside each k_i.
template <Real T>
struct ScanChunkBackward {
  using Tile = kernel::Tile<T>;
  using Scalars = kernel::Scalars<T>;
  using Reader = typename ScanChunk<T>::Reader;
  static constexpr auto kAdd = kernel::Write::kAdd;

  ScanChunk<T>& chunk;
  Tile d_state;                                        // (D, W)
  Tile state_across, d_state_across;                   // (W, D)
  Tile x_across, d_x, d_y;                             // (W, C), (C, W), (C, W)
  Tile d_pairs, d_q, d_k, more_d_k, own_d_k, d_decay;  // (C, C), then (C, D)
  Tile past_keys, sum;                                 // (C, D), (1, D)

  ScanChunkBackward(ScratchFrame& frame, ScanChunk<T>& of, Index capacity) : chunk(of) {
    const Index features = of.features, width = of.width;
    const auto tokens = [&](Index columns) { return make_tile<T>(frame, capacity, columns); };
    d_state = make_tile<T>(frame, features, width);
    state_across = make_tile<T>(frame, width, features);
    d_state_across = make_tile<T>(frame, width, features);
    x_across = make_tile<T>(frame, width, capacity);
    d_x = tokens(width);
    d_y = tokens(width);
    d_pairs = tokens(capacity);
    d_q = tokens(features);
    d_k = tokens(features);
    more_d_k = tokens(features);
    own_d_k = tokens(features);
    d_decay = tokens(features);
    past_keys = tokens(features);
    sum = make_tile<T>(frame, 1, features);
  }

  /// The chunk is loaded, `state` is that before it and `after` the one behind it.
  void run(Index first, const Tile& state, const Tile& after, const View<const T, 3>& d_out,
           const ScanGradients<T>& d) const {
    const Index count = chunk.count, features = chunk.features, width = chunk.width;
    transpose(state, features, width, state_across);
    transpose(d_state, features, width, d_state_across);
    transpose(chunk.x, count, width, x_across);
    for (Index f = 0; f < features; ++f)
      sum.data[f] = simd::reduce_add<T>(dot_lanes(after.row(f), d_state.row(f), after.stride));
    kernel::tile_product(kernel::transposed(chunk.keys), count, features, d_state, width, d_x);
    keys_from_state();
    if (chunk.decays())
      for (Index f = 0; f < features; ++f)
        product_row(d_state.row(f), chunk.total.data[f], d_state.stride, d_state.row(f));
    std::fill_n(d_decay.data, count * d_decay.stride, T(0));
    std::fill_n(own_d_k.data, count * own_d_k.stride, T(0));

    for (Index g = 0; g < chunk.head.groups(); ++g) {
      const Reader& reader = chunk.readers[chunk.delta + g];
      const auto from = d_out.select(0, g).slice(0, first, count);
      kernel::copy_rows<T>(from.data, from.stride(0), from.stride(1), count, width, d_y.data, d_y.stride);
      kernel::tile_product<kAdd, kernel::Part::kUpper>(kernel::transposed(reader.pairs), count, count, d_y, width, d_x);
      read_backward(reader, d_y);
      if (d.q.data) add(d_q, T(chunk.head.scale), d.q.select(0, g), first);
    }
    if (chunk.delta) {
      correct_backward(first, d.beta);
      read_backward(chunk.readers[0], d_x);
      for (Index i = 0; i < count; ++i) add_row(d_q.row(i), T(-1), d_q.stride, own_d_k.row(i));
    }
    if (d.v.data) add(d_x, T(1), d.v, first);  // of the ones there is no gradient: v has no such column
    if (d.decay.data) decay_backward(first, d.decay);
    for (Index i = 0; i < count; ++i) add_row(d_k.row(i), T(1), d_k.stride, own_d_k.row(i));
    if (d.k.data) add(own_d_k, T(1), d.k, first);
  }

 private:
  static void transpose(const Tile& x, Index rows, Index columns, const Tile& to) {
    kernel::copy_rows<T>(x.data, 1, x.stride, columns, rows, to.data, to.stride);
  }
  void add(const Tile& rows, T factor, const View<T, 2>& to, Index first) const {
    kernel::add_rows<T>(rows.data, rows.stride, chunk.count, to.size(1), factor, to.at(first), to.stride(0),
                        to.stride(1));
  }

  // d_k_j = e^(G_end - G_j) x_j d_S^T.
  void keys_from_state() const {
    kernel::tile_product(Scalars(chunk.x), chunk.count, chunk.width, d_state_across, chunk.features, d_k);
    if (!chunk.decays()) return;
    if (!chunk.channels()) {
      for (Index j = 0; j < chunk.count; ++j)
        product_row(d_k.row(j), chunk.weight.row(chunk.count - 1)[j], d_k.stride, d_k.row(j));
      return;
    }
    T* const later = chunk.running.data;
    std::fill_n(later, d_k.stride, T(1));
    for (Index j = chunk.count - 1; j >= 0; --j) {
      product_row(d_k.row(j), later, d_k.stride, d_k.row(j));
      product_row(later, chunk.decay.row(j), d_k.stride, later);
    }
  }

  // Of one reader: makes d_q, adds to d_k, d_decay and d_state.
  void read_backward(const Reader& reader, const Tile& d_read) const {
    const Index count = chunk.count, features = chunk.features;
    kernel::tile_product_lower(Scalars(d_read), count, chunk.width, x_across, d_pairs);
    if (reader.strict)
      for (Index i = 0; i < count; ++i) d_pairs.row(i)[i] = 0;
    kernel::tile_product(Scalars(d_read), count, chunk.width, state_across, features, d_q);
    if (chunk.channels()) {
      queries_by_channel();
      keys_by_channel(reader);
    } else {
      if (chunk.decays())
        for (Index i = 0; i < count; ++i) {
          product_row(d_pairs.row(i), chunk.weight.row(i), kernel::padded<T>(i + 1), d_pairs.row(i));
          product_row(d_q.row(i), chunk.prefix[i], d_q.stride, d_q.row(i));
        }
      kernel::tile_product<kAdd, kernel::Part::kLower>(Scalars(d_pairs), count, count, chunk.k, features, d_q);
      kernel::tile_product<kAdd, kernel::Part::kUpper>(kernel::transposed(d_pairs), count, count, reader.q, features,
                                                       d_k);
    }
    kernel::tile_product<kAdd>(kernel::transposed(reader.reach), features, count, d_read, chunk.width, d_state);
    if (!chunk.decays()) return;
    for (Index i = 0; i < count; ++i)
      for (Index f = 0; f < d_q.stride; f += simd::kLanes<T>)
        simd::fma(simd::load_aligned(reader.q.row(i) + f), simd::load_aligned(d_q.row(i) + f),
                  simd::load_aligned(d_decay.row(i) + f))
            .store_aligned(d_decay.row(i) + f);
  }

  // d_q holds d_y state^T: along the steps, with the keys before each decayed up to it.
  void queries_by_channel() const {
    constexpr Index step = ScanChunk<T>::kStep;
    const Index stride = d_q.stride;
    T* const total = chunk.total.data;
    std::fill_n(total, stride, T(1));
    for (Index first = 0; first < chunk.count; first += step) {
      const Index last = std::min(first + step, chunk.count);
      for (Index i = first; i < last; ++i) product_row(d_q.row(i), total, stride, d_q.row(i));
      kernel::tile_product<kAdd>(Scalars(d_pairs).from(first, 0), last - first, first, past_keys, chunk.features,
                                 Tile{d_q.row(first), stride});
      chunk.walk(first, last, [&](Index i) {
        product_row(d_q.row(i), chunk.running.data, stride, d_q.row(i));
        for (Index j = first; j <= i; ++j)
          add_row(chunk.near_keys.row(j - first), d_pairs.row(i)[j], stride, d_q.row(i));
      });
      for (Index j = 0; j < first; ++j) product_row(past_keys.row(j), chunk.running.data, stride, past_keys.row(j));
      std::copy_n(chunk.near_keys.data, (last - first) * stride, past_keys.row(first));
      product_row(total, chunk.running.data, stride, total);
    }
  }

  // Back along the steps: what a key gets from queries behind a token decays on its way to the key.
  void keys_by_channel(const Reader& reader) const {
    constexpr Index step = ScanChunk<T>::kStep;
    const Index stride = d_k.stride;
    std::fill_n(more_d_k.data, chunk.count * stride, T(0));
    for (Index first = (chunk.count - 1) / step * step; first >= 0; first -= step) {
      const Index last = std::min(first + step, chunk.count);
      T* const all = chunk.running.data;
      std::fill_n(all, stride, T(1));
      for (Index i = last - 1; i >= first; --i) {
        for (Index j = first; j <= i; ++j) add_row(reader.q.row(i), d_pairs.row(i)[j], stride, more_d_k.row(j));
        for (Index j = first; j < i; ++j) product_row(more_d_k.row(j), chunk.decay.row(i), stride, more_d_k.row(j));
        product_row(all, chunk.decay.row(i), stride, all);
      }
      for (Index j = 0; j < first; ++j) product_row(more_d_k.row(j), all, stride, more_d_k.row(j));
      kernel::tile_product<kAdd>(Scalars(d_pairs).from(first, 0).transposed(), first, last - first,
                                 Tile{reader.near.row(first), stride}, chunk.features, more_d_k);
    }
    for (Index j = 0; j < chunk.count; ++j) add_row(more_d_k.row(j), T(1), stride, d_k.row(j));
  }

  // d_x from the gradient of the corrections to that of what they were made of, from the last one back.
  void correct_backward(Index first_token, const View<T, 2>& d_beta) const {
    constexpr Index block = 8;
    const Index count = chunk.count, width = chunk.width;
    const Tile& pairs = chunk.readers[0].pairs;
    for (Index first = (count - 1) / block * block; first >= 0; first -= block) {
      const Index last = std::min(first + block, count);
      kernel::tile_product<kAdd>(Scalars(pairs).from(last, first).transposed(), last - first, count - last,
                                 Tile{d_x.row(last), d_x.stride}, width, Tile{d_x.row(first), d_x.stride});
      for (Index j = last - 1; j >= first; --j) {
        for (Index i = j + 1; i < last; ++i) add_row(d_x.row(i), pairs.row(i)[j], d_x.stride, d_x.row(j));
        if (d_beta.data) {
          T one = 0;
          for (Index c = 0; c < width; ++c) {
            const T product = d_x.row(j)[c] * chunk.rest.row(j)[c];
            if (d_beta.size(1) == width) {
              d_beta(first_token + j, c) += product;
            } else {
              one += product;
            }
          }
          if (d_beta.size(1) != width) d_beta(first_token + j, 0) += one;
        }
        product_row(d_x.row(j), chunk.beta.row(j), d_x.stride, d_x.row(j));
      }
    }
  }

  void decay_backward(Index first, const View<T, 2>& d) const {
    const Index stride = d_decay.stride;
    for (Index i = chunk.count - 1; i >= 0; --i) {
      for (Index f = 0; f < stride; f += simd::kLanes<T>)
        (simd::load_aligned(sum.data + f) + simd::load_aligned(d_decay.row(i) + f) -
         simd::load_aligned(chunk.k.row(i) + f) * simd::load_aligned(d_k.row(i) + f))
            .store_aligned(sum.data + f);
      T* const to = d.at(d.size(0) == 1 ? 0 : first + i);
      if (chunk.channels()) {
        for (Index f = 0; f < chunk.features; ++f) to[f * d.stride(1)] += sum.data[f];
      } else {
        T one = 0;
        for (Index f = 0; f < chunk.features; ++f) one += sum.data[f];
        *to += one;
      }
    }
  }
};

template <Real T>
void scan_backward(const ScanHead<T>& head, Index capacity, const View<const T, 3>& d_out,
                   const View<const T, 2>& d_end, const ScanGradients<T>& d) {
  ScratchFrame frame;
  ScanChunk<T> chunk(frame, head, capacity);
  const ScanChunkBackward<T> back(frame, chunk, capacity);
  const Index chunks = (head.tokens() + capacity - 1) / capacity;
  const auto first_of = [&](Index c) { return c * capacity; };
  const auto tokens_of = [&](Index c) { return std::min(capacity, head.tokens() - first_of(c)); };

  // The states before each chunk, and the one behind all.
  const auto start = first_state(frame, head);
  const Index size = head.features() * start.stride;
  T* const memory = frame.take<T>((chunks + 1) * size);
  const auto state = [&](Index c) { return kernel::Tile<T>{memory + c * size, start.stride}; };
  std::copy_n(start.data, size, memory);
  for (Index c = 0; c < chunks; ++c) {
    chunk.load(first_of(c), tokens_of(c), chunk.delta);
    chunk.correct(state(c));
    std::copy_n(state(c).data, size, state(c + 1).data);
    chunk.advance(state(c + 1));
  }
  if (d_end.data)
    kernel::copy_rows<T>(d_end.data, d_end.stride(0), d_end.stride(1), head.features(), head.width(), back.d_state.data,
                         back.d_state.stride);
  for (Index c = chunks - 1; c >= 0; --c) {
    chunk.load(first_of(c), tokens_of(c));
    chunk.correct(state(c));
    back.run(first_of(c), state(c), state(c + 1), d_out, d);
  }
  if (d.state.data)
    kernel::add_rows<T>(back.d_state.data, back.d_state.stride, head.features(), head.width(), T(1), d.state.data,
                        d.state.stride(0), d.state.stride(1));
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
