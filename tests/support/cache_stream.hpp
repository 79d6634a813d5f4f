// SPDX-License-Identifier: Apache-2.0
// A stream of tokens, and what attention over everything so far must give: the definition, in double.
#pragma once

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "heed/attention/cache/attend.hpp"

namespace heed_test {

using heed::Index;
using heed::Tensor;

/// Keys, values and queries of all positions of all sequences, of type T; what a cache of storage U holds of them.
template <class T, class U>
struct CacheStream {
  Index batch = 2, heads = 4, kv_heads = 2, length = 0, width = 5, value_width = 3;
  Tensor<T, 4> q, k, v;

  explicit CacheStream(Index length, Index width = 5, Index value_width = 3, unsigned seed = 1)
      : length(length), width(width), value_width(value_width) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    const auto random = [&](Index heads, Index columns) {
      Tensor<T, 4> x(batch, heads, length, columns);
      for (Index i = 0; i < x.size(); ++i) x.data()[i] = T(normal(generator));
      return x;
    };
    q = random(heads, width);
    k = random(kv_heads, width);
    v = random(kv_heads, value_width);
  }

  static U stored(T x) { return static_cast<U>(x); }

  /// Tokens [first[b], first[b] + n) of one of q, k, v.
  static Tensor<T, 4> tokens(const Tensor<T, 4>& x, const std::vector<Index>& first, Index n) {
    Tensor<T, 4> part(x.dimension(0), x.dimension(1), n, x.dimension(3));
    for (Index b = 0; b < x.dimension(0); ++b)
      for (Index h = 0; h < x.dimension(1); ++h)
        for (Index t = 0; t < n; ++t)
          for (Index d = 0; d < x.dimension(3); ++d) part(b, h, t, d) = x(b, h, first[std::size_t(b)] + t, d);
    return part;
  }

  /// The output of the query at position x over the positions z with visible(b, h, x, z), of score(s, b, h, x, z).
  template <class Visible, class Score>
  std::vector<double> expected(Index b, Index h, Index x, Visible&& visible, Score&& score) const {
    const Index g = h * kv_heads / heads;
    std::vector<double> s(std::size_t(x + 1), -std::numeric_limits<double>::infinity());
    double top = s[0];
    for (Index z = 0; z <= x; ++z) {
      if (!visible(b, h, x, z)) continue;
      double dot = 0;
      for (Index d = 0; d < width; ++d) dot += double(q(b, h, x, d)) * double(stored(k(b, g, z, d)));
      s[std::size_t(z)] = score(dot / std::sqrt(double(width)), b, h, x, z);
      top = std::max(top, s[std::size_t(z)]);
    }
    std::vector<double> out(std::size_t(value_width), 0.0);
    double sum = 0;
    for (Index z = 0; z <= x; ++z) {
      if (!visible(b, h, x, z)) continue;
      const double p = std::exp(s[std::size_t(z)] - top);
      sum += p;
      for (Index d = 0; d < value_width; ++d) out[std::size_t(d)] += p * double(stored(v(b, g, z, d)));
    }
    for (double& value : out) value = sum > 0 ? value / sum : 0.0;
    return out;
  }
};

template <class T>
constexpr double cache_tolerance() {
  return std::is_same_v<T, double> ? 1e-13 : 4e-6;
}

template <class X>
void poison(X& tensor) {
  for (Index i = 0; i < tensor.size(); ++i)
    tensor.data()[i] = static_cast<typename X::Scalar>(std::numeric_limits<float>::quiet_NaN());
}

/// Where a store keeps a position: rows of its k and v.
template <class U>
auto slot_of(const heed::ContiguousCache<U>&, Index b, Index z) {
  return std::pair(b, z);
}
template <class U>
auto slot_of(const heed::RingCache<U>& cache, Index b, Index z) {
  const Index sinks = cache.options.sink_tokens;
  return std::pair(b, z < sinks ? z : sinks + (z - sinks) % cache.options.window_size);
}
template <class U>
auto slot_of(const heed::PagedCache<U>& cache, Index b, Index z) {
  const Index rows = cache.k.dimension(2);
  return std::pair(Index(cache.block_table(b, z / rows)), z % rows);
}

template <class U>
bool kept(const heed::RingCache<U>& cache, Index length, Index z) {
  return z < length && (z < cache.options.sink_tokens || z >= length - cache.options.window_size);
}
template <class Cache>
bool kept(const Cache&, Index length, Index z) {
  return z < length;
}

/// A cache in which sequence b has seen its first `lengths[b]` tokens, and NaN everywhere else.
template <class Cache, class Stream>
void begin(Cache& cache, const Stream& stream, const std::vector<Index>& lengths) {
  poison(cache.k);
  poison(cache.v);
  for (Index b = 0; b < stream.batch; ++b) {
    const Index length = lengths[std::size_t(b)];
    cache.lengths(b) = std::int32_t(length);
    for (Index z = 0; z < length; ++z) {
      if (!kept(cache, length, z)) continue;
      const auto [page, row] = slot_of(cache, b, z);
      for (Index h = 0; h < stream.kv_heads; ++h) {
        for (Index d = 0; d < stream.width; ++d) cache.k(page, h, row, d) = stream.stored(stream.k(b, h, z, d));
        for (Index d = 0; d < stream.value_width; ++d) cache.v(page, h, row, d) = stream.stored(stream.v(b, h, z, d));
      }
    }
  }
}

/// Whether the cache holds, bit for bit, what it should after `lengths` tokens.
template <class Cache, class Stream>
bool holds(const Cache& cache, const Stream& stream, const std::vector<Index>& lengths) {
  for (Index b = 0; b < stream.batch; ++b) {
    const Index length = lengths[std::size_t(b)];
    if (cache.lengths(b) != length) return false;
    for (Index z = 0; z < length; ++z) {
      if (!kept(cache, length, z)) continue;
      const auto [page, row] = slot_of(cache, b, z);
      for (Index h = 0; h < stream.kv_heads; ++h) {
        for (Index d = 0; d < stream.width; ++d)
          if (!(cache.k(page, h, row, d) == stream.stored(stream.k(b, h, z, d)))) return false;
        for (Index d = 0; d < stream.value_width; ++d)
          if (!(cache.v(page, h, row, d) == stream.stored(stream.v(b, h, z, d)))) return false;
      }
    }
  }
  return true;
}

/// Runs the stream through the cache in pieces of the given sizes, over and over until it is through, with
/// call(q, k_new, v_new, out), which appends and attends. The largest difference from the definition, or infinity if
/// the cache does not hold what it should.
template <class Cache, class Stream, class Call, class Visible, class Score>
double run_stream(Cache& cache, const Stream& stream, std::vector<Index> lengths, const std::vector<Index>& pieces,
                  Call&& call, Visible&& visible, Score&& score) {
  begin(cache, stream, lengths);
  double worst = 0;
  for (std::size_t step = 0;; ++step) {
    const Index n = pieces[step % pieces.size()];
    if (*std::max_element(lengths.begin(), lengths.end()) + n > stream.length) return worst;
    auto out = stream.tokens(stream.q, lengths, n);
    out.resize(stream.batch, stream.heads, n, stream.value_width);
    poison(out);
    call(stream.tokens(stream.q, lengths, n), stream.tokens(stream.k, lengths, n), stream.tokens(stream.v, lengths, n),
         out);
    for (Index b = 0; b < stream.batch; ++b)
      for (Index h = 0; h < stream.heads; ++h)
        for (Index t = 0; t < n; ++t) {
          const auto want = stream.expected(b, h, lengths[std::size_t(b)] + t, visible, score);
          for (Index d = 0; d < stream.value_width; ++d) {
            const double error = std::abs(double(out(b, h, t, d)) - want[std::size_t(d)]);
            if (!(error <= worst)) worst = error;
          }
        }
    for (Index& length : lengths) length += n;
    if (!holds(cache, stream, lengths)) return std::numeric_limits<double>::infinity();
  }
}

inline constexpr auto kSame = [](double s, Index, Index, Index, Index) { return s; };
inline constexpr auto kAll = [](Index, Index, Index, Index) { return true; };

}  // namespace heed_test
