// SPDX-License-Identifier: Apache-2.0
// A chunk of tokens of linear_scan: what pairs of them weigh, and how the state passes through.
#pragma once

#include "heed/core/scratch.hpp"
#include "heed/kernel/row_access.hpp"
#include "heed/kernel/rows.hpp"
#include "heed/kernel/tile_product.hpp"
#include "heed/simd/math.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

enum class DecayKind { kNone, kPerHead, kPerToken, kPerChannel };

/// One key head of linear_scan and the query heads that read it. Views of null data stand for what is not there.
template <Real T>
struct ScanHead {
  View<const T, 3> q;      // (G, N, D)
  View<const T, 2> k, v;   // (N, D), (N, Dv)
  View<const T, 2> decay;  // logarithms, (N or 1, D or 1)
  View<const T, 2> beta;   // (N, Dv or 1)
  View<const T, 2> start;  // (D, width())
  DecayKind kind = DecayKind::kNone;
  bool ones = false;  // a column of ones behind those of v
  double scale = 1;

  Index tokens() const { return k.size(0); }
  Index features() const { return k.size(1); }
  Index width() const { return v.size(1) + Index(ones); }
  Index groups() const { return q.size(0); }
};

template <Real T>
void product_row(const T* x, const T* by, Index width, T* out) {
  for (Index c = 0; c < width; c += simd::kLanes<T>)
    (simd::load_aligned(x + c) * simd::load_aligned(by + c)).store_aligned(out + c);
}
template <Real T>
void product_row(const T* x, T by, Index width, T* out) {
  for (Index c = 0; c < width; c += simd::kLanes<T>)
    (simd::load_aligned(x + c) * simd::Batch<T>(by)).store_aligned(out + c);
}
template <Real T>
void add_row(const T* x, T factor, Index width, T* sum) {
  for (Index c = 0; c < width; c += simd::kLanes<T>)
    simd::fma(simd::load_aligned(x + c), simd::Batch<T>(factor), simd::load_aligned(sum + c)).store_aligned(sum + c);
}
/// The products of two rows, summed in as many parts as a batch has lanes.
template <Real T>
HEED_INLINE simd::Batch<T> dot_lanes(const T* x, const T* y, Index width) {
  simd::Batch<T> sum(T(0));
  for (Index c = 0; c < width; c += simd::kLanes<T>)
    sum = simd::fma(simd::load_aligned(x + c), simd::load_aligned(y + c), sum);
  return sum;
}

/// Scratch of whole batches a row, zeros.
template <Real T>
kernel::Tile<T> make_tile(ScratchFrame& frame, Index rows, Index columns) {
  const Index stride = kernel::padded<T>(columns);
  const kernel::Tile<T> tile{frame.take<T>(rows * stride), stride};
  std::fill_n(tile.data, rows * stride, T(0));
  return tile;
}

/// A chunk of up to `capacity` tokens of a head. With e^G_i the decay from before the chunk up to and with token i, all
/// products of factors e^g, none of which is divided by but within a step of a decay per channel, while that is mild:
///
///   pairs_ij = q_i . (e^(G_i - G_j) k_j) for j <= i,  reach_i = e^G_i q_i,  keys_j = e^(G_end - G_j) k_j
///   out = pairs x + reach state,  state <- e^G_end state + keys^T x
///
/// where x are the values or, of the delta rule, the corrections: those are themselves read from the state, by -k.
template <Real T>
struct ScanChunk {
  using Tile = kernel::Tile<T>;
  /// Tokens from whose beginning on the decay per channel is taken; keys of earlier ones stand decayed up to there.
  static constexpr Index kStep = simd::kLanes<T>;

  struct Reader {
    Tile q;      // as given times the scale, or -k
    Tile near;   // decayed from the beginning of its step; only per channel
    Tile reach;  // decayed from the beginning of the chunk
    Tile pairs;
    bool strict = false;  // does not read its own token
  };

  const ScanHead<T>& head;
  Index features, width, count = 0, behind = 0;  // behind: the first token after the chunk
  Tile k, keys;                                  // (C, D); keys transposed, (D, C)
  Tile x, rest, beta;                            // (C, W); the delta rule's corrections are beta * rest
  Tile weight;                                   // e^(G_i - G_j), (C, C); only for one decay a token
  Tile decay;                                    // e^g, (C, D) or (1, C)
  Tile running, total;  // (1, D): the decay of the tokens of a step so far, and that of the chunk
  Tile one;             // (1, D)
  Tile near_keys;       // (kStep, D)
  T* prefix = nullptr;  // e^G_i; only for one decay a token
  Reader* readers = nullptr;
  Index delta;  // 1 if the first reader is that of the delta rule

  ScanChunk(ScratchFrame& frame, const ScanHead<T>& of, Index capacity)
      : head(of), features(of.features()), width(of.width()), delta(of.beta.data ? 1 : 0) {
    const bool channels = of.kind == DecayKind::kPerChannel, decays = of.kind != DecayKind::kNone;
    k = make_tile<T>(frame, capacity, features);
    keys = make_tile<T>(frame, features, capacity);
    x = make_tile<T>(frame, capacity, width);
    if (delta) {
      rest = make_tile<T>(frame, capacity, width);
      beta = make_tile<T>(frame, capacity, width);
    }
    if (decays) decay = channels ? make_tile<T>(frame, capacity, features) : make_tile<T>(frame, 1, capacity);
    if (decays && !channels) {
      weight = make_tile<T>(frame, capacity, capacity);
      prefix = frame.take<T>(capacity);
    }
    running = make_tile<T>(frame, 1, features);
    one = make_tile<T>(frame, 1, features);
    std::fill_n(one.data, one.stride, T(1));
    total = make_tile<T>(frame, 1, features);
    if (channels) near_keys = make_tile<T>(frame, kStep, features);
    readers = frame.take<Reader>(delta + of.groups());
    for (Index r = 0; r < delta + of.groups(); ++r) {
      Reader& reader = readers[r] = {};
      reader.q = make_tile<T>(frame, capacity, features);
      if (channels) reader.near = make_tile<T>(frame, capacity, features);
      reader.reach = decays ? make_tile<T>(frame, capacity, features) : reader.q;
      reader.pairs = make_tile<T>(frame, capacity, capacity);
      reader.strict = r < delta;
    }
    if (of.kind == DecayKind::kPerHead) set_decay(0, capacity);
  }

  bool channels() const { return head.kind == DecayKind::kPerChannel; }
  bool decays() const { return head.kind != DecayKind::kNone; }

  /// Reads tokens, and finds what the first `some` readers need; all readers if some is negative.
  void load(Index first, Index tokens, Index some = -1) {
    count = tokens;
    behind = first + tokens;
    if (some < 0) some = delta + head.groups();
    read(head.k, first, features, k);
    read(head.v, first, head.v.size(1), x);
    if (head.ones)
      for (Index i = 0; i < count; ++i) x.row(i)[width - 1] = T(1);
    if (delta) {
      read(head.beta.size(1) == 1 ? stretch(head.beta, width) : head.beta, first, width, beta);
      for (Index i = 0; i < count; ++i)
        for (Index d = 0; d < features; ++d) readers[0].q.row(i)[d] = -k.row(i)[d];
    }
    for (Index r = delta; r < some; ++r) {
      read(head.q.select(0, r - delta), first, features, readers[r].q);
      for (Index i = 0; i < count && head.scale != 1; ++i)
        product_row(readers[r].q.row(i), T(head.scale), k.stride, readers[r].q.row(i));
    }
    if (head.kind == DecayKind::kPerToken || channels()) set_decay(first, count);
    if (channels()) {
      weigh_by_channel(some);
    } else {
      weigh(some);
    }
  }

  /// x from values to corrections: u_i = beta_i (v_i - sum over j < i of (k_i . e^(G_i - G_j) k_j) u_j - reach state).
  /// By blocks of 8 rows, within which one follows the other.
  void correct(const Tile& state) const {
    if (!delta) return;
    const Reader& reader = readers[0];
    std::copy_n(x.data, count * x.stride, rest.data);
    kernel::tile_product<kernel::Write::kAdd>(kernel::Scalars<T>(reader.reach), count, features, state, width, rest);
    constexpr Index block = 8;
    for (Index first = 0; first < count; first += block) {
      const Index rows = std::min(block, count - first);
      kernel::tile_product<kernel::Write::kAdd>(kernel::Scalars<T>(reader.pairs).from(first, 0), rows, first, x, width,
                                                Tile{rest.row(first), rest.stride});
      for (Index i = first; i < first + rows; ++i) {
        for (Index j = first; j < i; ++j) add_row(x.row(j), reader.pairs.row(i)[j], x.stride, rest.row(i));
        product_row(rest.row(i), beta.row(i), x.stride, x.row(i));
      }
    }
  }

  /// y = pairs x + reach state.
  void read_state(Index reader, const Tile& state, const Tile& y) const {
    const Reader& from = readers[reader];
    const auto q = reader < delta ? View<const T, 2>() : head.q.select(0, reader - delta);
    kernel::tile_product(kernel::Scalars<T>(from.reach), count, features, state, width, y, following(q));
    kernel::tile_product<kernel::Write::kAdd, kernel::Part::kLower>(kernel::Scalars<T>(from.pairs), count, count, x,
                                                                    width, y, following(head.v));
  }

  /// state <- e^G_end state + keys^T x.
  void advance(const Tile& state) const {
    if (decays())
      for (Index d = 0; d < features; ++d) product_row(state.row(d), total.data[d], state.stride, state.row(d));
    kernel::tile_product<kernel::Write::kAdd>(kernel::Scalars<T>(keys), features, count, x, width, state,
                                              following(head.k));
  }

  /// Calls f(i) for the tokens [first, last) of a step: near_keys then holds those up to i, decayed up to i, and
  /// `running` the decay of the step up to and with i.
  template <class F>
  void walk(Index first, Index last, const F& f) const {
    std::fill_n(running.data, running.stride, T(1));
    for (Index i = first; i < last; ++i) {
      const T* const by = decay.row(i);
      for (Index j = first; j < i; ++j) product_row(near_keys.row(j - first), by, k.stride, near_keys.row(j - first));
      std::copy_n(k.row(i), k.stride, near_keys.row(i - first));
      product_row(running.data, by, k.stride, running.data);
      f(i);
    }
  }

 private:
  // Rows of the next chunk: of their memory's latency the products hide what the prefetchers leave.
  kernel::Upcoming following(const View<const T, 2>& x) const {
    const Index rows = std::min(count, x.size(0) - behind);
    if (!x.data || rows <= 0 || x.stride(1) != 1) return {};
    return kernel::upcoming(x.at(behind), x.stride(0), rows, x.size(1));
  }
  static View<const T, 2> stretch(View<const T, 2> column, Index width) {
    column.sizes[1] = width;
    column.strides[1] = 0;
    return column;
  }
  void read(const View<const T, 2>& from, Index first, Index columns, const Tile& to) const {
    kernel::copy_rows<T>(from.at(first), from.stride(0), from.stride(1), count, columns, to.data, to.stride);
  }

  void set_decay(Index first, Index tokens) {
    const auto& from = head.decay;
    const Index step = from.size(0) == 1 ? 0 : from.stride(0);
    const T* const logarithms = from.at(from.size(0) == 1 ? 0 : first);
    if (channels()) {
      kernel::copy_rows<T>(logarithms, step, from.stride(1), tokens, features, decay.data, decay.stride);
      for (Index i = 0; i < tokens; ++i) std::fill(decay.row(i) + features, decay.row(i + 1), T(0));
    } else {
      kernel::copy_rows<T>(logarithms, 0, step, 1, tokens, decay.data, decay.stride);
      std::fill(decay.data + tokens, decay.data + decay.stride, T(0));
    }
    for (Index i = 0; i < (channels() ? tokens : 1) * decay.stride; i += simd::kLanes<T>)
      simd::exp<T>(simd::load_aligned(decay.data + i)).store_aligned(decay.data + i);
    if (channels()) return;
    T product = 1;
    for (Index i = 0; i < tokens; ++i) {
      prefix[i] = product *= decay.data[i];
      T* const row = weight.row(i);
      if (i > 0) product_row(weight.row(i - 1), decay.data[i], kernel::padded<T>(i), row);
      std::fill(row + i, row + weight.stride, T(0));
      row[i] = 1;
    }
  }

  void weigh(Index some) {
    kernel::copy_rows<T>(k.data, 1, k.stride, features, count, keys.data, keys.stride);
    for (Index r = 0; r < some; ++r) {
      const Reader& reader = readers[r];
      kernel::tile_product_lower(kernel::Scalars<T>(reader.q), count, features, keys, reader.pairs);
      for (Index i = 0; i < count; ++i) {
        if (decays()) {
          product_row(reader.pairs.row(i), weight.row(i), kernel::padded<T>(i + 1), reader.pairs.row(i));
          product_row(reader.q.row(i), prefix[i], k.stride, reader.reach.row(i));
        }
        if (reader.strict) reader.pairs.row(i)[i] = 0;
      }
    }
    if (!decays()) return;
    for (Index d = 0; d < features; ++d) product_row(keys.row(d), weight.row(count - 1), keys.stride, keys.row(d));
    std::fill_n(total.data, total.stride, prefix[count - 1]);
  }

  // Within a step keys are divided by the decay from its beginning, and queries multiplied by it, as long as that is
  // far from 0 (and from infinity) in every channel; from the first token on where it is not, keys go from token to
  // token. Which of the two a query's pairs come by follows from its own and earlier tokens alone.
  void weigh_by_channel(Index some) {
    std::fill_n(total.data, total.stride, T(1));
    for (Index first = 0; first < count; first += kStep) {
      const Index last = std::min(first + kStep, count);
      following(head.decay).fetch(first, kStep);
      const Index weak = decay_step(some, first, last);
      kernel::copy_rows<T>(near_keys.data, 1, near_keys.stride, features, last - first, keys.data + first, keys.stride);
      for (Index r = 0; r < some; ++r)
        // Keys of earlier steps stand decayed up to the beginning of this one.
        kernel::tile_product(kernel::Scalars<T>(readers[r].near).from(first, 0), last - first, features, keys, last,
                             Tile{readers[r].pairs.row(first), readers[r].pairs.stride});
      const Index divided = weak < last ? first : last;
      for (Index d = 0; d < features; ++d) product_row(keys.row(d), running.data[d], divided, keys.row(d));
      if (weak < last) {
        walk(first, last, [&](Index i) {
          for (Index r = 0; r < some && i >= weak; ++r) {
            simd::Batch<T> dots[kStep];  // of the query and the keys up to it, not yet summed over lanes
            std::fill_n(dots, kStep, simd::Batch<T>(T(0)));
            for (Index j = first; j <= i; ++j)
              dots[j - first] = dot_lanes(readers[r].q.row(i), near_keys.row(j - first), k.stride);
            simd::reduce_add_rows<T>(dots).store_aligned(readers[r].pairs.row(i) + first);
          }
        });
        kernel::copy_rows<T>(near_keys.data, 1, near_keys.stride, features, last - first, keys.data + first,
                             keys.stride);
      }
      for (Index i = first; i < last && delta && some > 0; ++i) readers[0].pairs.row(i)[i] = 0;
      product_row(total.data, running.data, total.stride, total.data);
    }
  }

  // The queries of a step decayed from its beginning, and from that of the chunk; keys divided by that decay in
  // near_keys; `running` is that of the whole step. Returns the first token from which on it is no number to divide by.
  Index decay_step(Index some, Index first, Index last) const {
    using Batch = simd::Batch<T>;
    const Batch least(T(0x1p-40)), most(T(0x1p+40));
    Index weak = last;
    for (Index c = 0; c < k.stride; c += simd::kLanes<T>) {
      const Batch before = simd::load_aligned(total.data + c);
      Batch product(T(1));
      for (Index i = first; i < last; ++i) {
        product = product * simd::load_aligned(decay.row(i) + c);
        if (i < weak && simd::any(!(product >= least && product <= most))) weak = i;
        (simd::load_aligned(k.row(i) + c) / product).store_aligned(near_keys.row(i - first) + c);
        for (Index r = 0; r < some; ++r) {
          const Batch near = simd::load_aligned(readers[r].q.row(i) + c) * product;
          near.store_aligned(readers[r].near.row(i) + c);
          (near * before).store_aligned(readers[r].reach.row(i) + c);
        }
      }
      product.store_aligned(running.data + c);
    }
    return weak;
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
