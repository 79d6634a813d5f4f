// SPDX-License-Identifier: Apache-2.0
// Attention in double from its definition, random inputs and the comparison of results: what tests of attention share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "heed/attention/mask/rule.hpp"
#include "heed/kernel/panel.hpp"

namespace heed::test {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A tensor of normally distributed numbers, the same for the same seed.
template <class T, int Rank>
Tensor<T, Rank> random_tensor(const std::array<Index, Rank>& sizes, unsigned seed, double spread = 1.0) {
  Eigen::DSizes<Index, Rank> dimensions;
  for (std::size_t a = 0; a < std::size_t(Rank); ++a) dimensions[a] = sizes[a];
  Tensor<T, Rank> tensor(dimensions);
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0.0, spread);
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<T>(float(normal(engine)));
  return tensor;
}

/// A tensor of 0 and 1, 1 with probability `density`.
template <int Rank>
Tensor<std::uint8_t, Rank> random_mask(const std::array<Index, Rank>& sizes, unsigned seed, double density) {
  Eigen::DSizes<Index, Rank> dimensions;
  for (std::size_t a = 0; a < std::size_t(Rank); ++a) dimensions[a] = sizes[a];
  Tensor<std::uint8_t, Rank> tensor(dimensions);
  std::mt19937 engine(seed);
  std::bernoulli_distribution coin(density);
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = coin(engine);
  return tensor;
}

/// max |got - want| / (1 + max |want|) over all elements, infinite where one is not finite and the other is something
/// else. Elements whose `want` is NaN are skipped: those may be anything.
template <TensorLike Got, TensorLike Want>
double error_of(const Got& got, const Want& want) {
  const auto walk = [](auto&& self, const auto& g, const auto& w, auto&& see) -> void {
    require(g.sizes == w.sizes, "error_of", "shapes ", shape_text(g.sizes), " and ", shape_text(w.sizes));
    for (Index i = 0; i < g.size(0); ++i) {
      if constexpr (std::remove_cvref_t<decltype(g)>::rank == 1) {
        see(static_cast<double>(g(i)), static_cast<double>(w(i)));
      } else {
        self(self, g.select(0, i), w.select(0, i), see);
      }
    }
  };
  double largest = 0, worst = 0;
  walk(walk, const_view(got), const_view(want), [&](double g, double w) {
    if (std::isnan(w) || g == w) return;
    const double difference = std::abs(g - w);
    worst = std::max(worst, std::isfinite(difference) ? difference : kInfinity);
  });
  walk(walk, const_view(want), const_view(want), [&](double, double w) {
    if (std::isfinite(w)) largest = std::max(largest, std::abs(w));
  });
  return worst / (1 + largest);
}

/// softmax(score(scale * q k^T)) v over the visible keys, one query at a time, in double.
///
///   NaiveAttention naive;
///   naive.visible = [](Index b, Index h, Index i, Index j) { return j <= i; };
///   const auto want = naive(q, k, v);                        // want.out, want.lse, want.weights
///   CHECK(error_of(got, want.out) < 1e-5);
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv) of any storage and strides. A hidden key or value takes no part in
/// any sum, so NaN in it shows only in the rows that see it. A row that sees nothing gives 0 and -infinity.
struct NaiveAttention {
  /// Factor of q.k; none: 1 / sqrt(D).
  std::optional<double> scale = std::nullopt;
  /// Whether query i sees key j; null: always.
  std::function<bool(Index b, Index h, Index i, Index j)> visible = nullptr;
  /// The score made of s = scale * q.k (bias, cap, ...); null: s. -infinity hides the key.
  std::function<double(double s, Index b, Index h, Index i, Index j)> score = nullptr;
  /// One more logit in the normaliser; null: none.
  std::function<double(Index b, Index h)> extra_logit = nullptr;

  struct Result {
    Tensor<double, 4> out;      // (B, H, N, Dv)
    Tensor<double, 3> lse;      // (B, H, N)
    Tensor<double, 4> weights;  // (B, H, N, M)
  };

  template <TensorLike Q, TensorLike K, TensorLike V>
  Result operator()(const Q& q_like, const K& k_like, const V& v_like) const {
    const auto q = const_view(q_like).template promote<4>();
    const auto k = const_view(k_like).template promote<4>();
    const auto v = const_view(v_like).template promote<4>();
    const Index batch = q.size(0), heads = q.size(1), n = q.size(2), m = k.size(2), width = q.size(3);
    const Index value_width = v.size(3), q_step = q.strides[3], k_step = k.strides[3], v_step = v.strides[3];
    const double factor = scale ? *scale : 1.0 / std::sqrt(double(width));
    Result r{Tensor<double, 4>(batch, heads, n, value_width), Tensor<double, 3>(batch, heads, n),
             Tensor<double, 4>(batch, heads, n, m)};
    r.out.setZero();
    r.weights.setZero();
    std::vector<double> s(static_cast<std::size_t>(m));
    for (Index b = 0; b < batch; ++b)
      for (Index h = 0; h < heads; ++h)
        for (Index i = 0; i < n; ++i) {
          const Index hk = h * k.size(1) / heads;
          // Pointers: unoptimised, an index of a tensor costs a dozen calls.
          const auto* const query = q.at(b, h, i);
          double* const out = r.out.data() + ((b * heads + h) * n + i) * value_width;
          double top = extra_logit ? extra_logit(b, h) : -kInfinity;
          for (Index j = 0; j < m; ++j) {
            double& x = s[std::size_t(j)];
            x = -kInfinity;
            if (visible && !visible(b, h, i, j)) continue;
            double dot = 0;
            const auto* const key = k.at(b, hk, j);
            for (Index d = 0; d < width; ++d) dot += double(query[d * q_step]) * double(key[d * k_step]);
            x = score ? score(factor * dot, b, h, i, j) : factor * dot;
            if (x > top || std::isnan(x)) top = x;
          }
          r.lse(b, h, i) = -kInfinity;
          if (top == -kInfinity) continue;
          double sum = extra_logit ? std::exp(extra_logit(b, h) - top) : 0;
          for (const double x : s)
            if (x != -kInfinity) sum += std::exp(x - top);
          r.lse(b, h, i) = top + std::log(sum);
          for (Index j = 0; j < m; ++j) {
            const double x = s[std::size_t(j)];
            if (x == -kInfinity) continue;
            const double p = std::exp(x - top) / sum;
            r.weights(b, h, i, j) = p;
            const auto* const value = v.at(b, hk, j);
            for (Index d = 0; d < value_width; ++d) out[d] += p * double(value[d * v_step]);
          }
        }
    return r;
  }

  /// Visible where a dense mask (B, H, N, M), any axis 1 to broadcast, is not 0. The mask is copied.
  NaiveAttention& seeing(const Tensor<std::uint8_t, 4>& mask) {
    visible = [mask](Index b, Index h, Index i, Index j) {
      const auto at = [&](std::size_t axis, Index x) { return mask.dimensions()[axis] == 1 ? Index(0) : x; };
      return mask(at(0, b), at(1, h), at(2, i), at(3, j)) != 0;
    };
    return *this;
  }
};

/// What the test of a rule says of every pair, as (B, H, N, M) of 0 and 1, evaluated in batches of T along the queries
/// or along the keys. `offset` is the attention's: position(i) = i + offset; none: key_count - N.
template <Real T, Lanes L, VisibilityRule Rule>
Tensor<std::uint8_t, 4> dense_test(const Rule& rule, const AttentionShape& shape,
                                   std::optional<Index> offset = std::nullopt) {
  Tensor<std::uint8_t, 4> visible(shape.batch, shape.heads, shape.queries, shape.keys);
  visible.setZero();
  constexpr Index w = simd::kLanes<T>;
  constexpr Index columns = kernel::kPanelWidth<T>;
  constexpr int planes = heed::detail::kPlanesOf < Rule >> 0 ? heed::detail::kPlanesOf<Rule> : 1;
  alignas(64) T plane[std::size_t(planes * columns)] = {};
  alignas(64) T lanes[std::size_t(w)];
  for (Index b = 0; b < shape.batch; ++b)
    for (Index h = 0; h < shape.heads; ++h) {
      At<T, L> at;
      at.batch = b;
      at.head = h;
      at.kv_head = h * shape.kv_heads / shape.heads;
      const Index keys = std::min(shape.keys, heed::detail::key_count_of(rule, b, shape.keys));
      at.offset = offset ? *offset : keys - shape.queries;
      const Index outer = L == Lanes::kQueries ? keys : shape.queries;
      const Index inner = L == Lanes::kQueries ? shape.queries : keys;
      for (Index x = 0; x < outer; ++x)
        for (Index y = 0; y < inner; y += w) {
          at.first_query = L == Lanes::kQueries ? y : x;
          at.first_key = L == Lanes::kQueries ? x : y;
          at.count = std::min(w, inner - y);
          if constexpr (L == Lanes::kQueries) {
            heed::detail::fill_planes<Rule, T>(rule, PairTile{b, h, y, at.count, x, 1}, plane, columns);
            at.plane = plane;
            at.plane_size = columns;
          }
          simd::select(heed::detail::test(rule, at), simd::Batch<T>(T(1)), simd::Batch<T>(T(0))).store_aligned(lanes);
          for (Index lane = 0; lane < at.count; ++lane)
            visible(b, h, at.first_query + (L == Lanes::kQueries ? lane : 0),
                    at.first_key + (L == Lanes::kKeys ? lane : 0)) = lanes[lane] != T(0);
        }
    }
  return visible;
}

/// NaN in every key, and NaN or an infinity in every value, of which `hidden` says so: a row that sees one of them may
/// come out as anything (see forgive), all others must not notice.
template <class T>
void poison(Tensor<T, 4>& k, Tensor<T, 4>& v, const std::function<bool(Index b, Index hk, Index j)>& hidden) {
  for (Index b = 0; b < k.dimension(0); ++b)
    for (Index h = 0; h < k.dimension(1); ++h)
      for (Index j = 0; j < k.dimension(2); ++j) {
        if (!hidden(b, h, j)) continue;
        for (Index d = 0; d < k.dimension(3); ++d) k(b, h, j, d) = static_cast<T>(float(kNaN));
        for (Index d = 0; d < v.dimension(3); ++d)
          v(b, h, j, d) = static_cast<T>(float(d % 3 == 0 ? kNaN : d % 3 == 1 ? kInfinity : -kInfinity));
      }
}

/// Makes the rows of a result that see a poisoned key NaN, which error_of skips: an underflowing weight times an
/// infinity depends on the precision.
inline void forgive(NaiveAttention::Result& want) {
  for (Index b = 0; b < want.out.dimension(0); ++b)
    for (Index h = 0; h < want.out.dimension(1); ++h)
      for (Index i = 0; i < want.out.dimension(2); ++i) {
        bool finite = true;
        for (Index d = 0; d < want.out.dimension(3); ++d) finite &= std::isfinite(want.out(b, h, i, d));
        if (finite) continue;
        want.lse(b, h, i) = kNaN;
        for (Index d = 0; d < want.out.dimension(3); ++d) want.out(b, h, i, d) = kNaN;
      }
}

}  // namespace heed::test
