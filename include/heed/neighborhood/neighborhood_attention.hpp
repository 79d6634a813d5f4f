// SPDX-License-Identifier: Apache-2.0
// neighborhood_attention: each position of a grid attends to its nearest neighbours.
#pragma once

#include <optional>

#include "heed/attention/neighborhood/neighborhood.hpp"
#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T + rpb) v over the window of kernel_size nearest neighbours of each position of a grid of one,
/// two or three axes, and over extra keys. The window keeps its size at the borders.
///
///   heed::NeighborhoodAttention<float, 2> attend{{.kernel_size = {7, 7}, .dilation = {2, 2}}};
///   auto [out, lse] = attend(q, k, v);                      // or attend(device, q, k, v, k_extra, v_extra)
///   attend(device, q, k, v, heed::into(out));
///
/// q (B, S_1, .., S_d, H, D), k (B, S_1, .., S_d, Hk, D), v (B, S_1, .., S_d, Hk, Dv), out (B, S_1, .., S_d, H, Dv),
/// lse (B, S_1, .., S_d, H), natural; k_extra (B, M, Hk, D) and v_extra (B, M, Hk, Dv): keys that every query sees; rpb
/// (H, 2 k_1 - 1, .., 2 k_d - 1) or empty. All float or all double, any strides. Query head h reads key head
/// floor(h Hk / H). For an axis of length L with kernel k, dilation d, stride s, and a query at i:
///
/// 1. Only coordinates of the residue g = i mod d are neighbours: an axis of n = ceil((L - g) / d) positions of its
/// own,
///    the query at j = floor(i / d).
/// 2. The leader is l = min(floor(j / s) s + floor(s / 2), n - 1); the k neighbours are around it, floor(k / 2) before
///    and the rest from it on, moved so that all of them exist.
/// 3. Causal: l = min(floor(j / s) s + s - 1, n - 1); the neighbours are max(0, l - k + 1) .. j.
/// 4. A position's neighbourhood is the product of those of its axes. The bias of a pair is rpb[h, p_1 - j_1 + k_1 - 1,
///    ..], p and j the positions of key and query; extra keys have none.
///
/// With s = 1 and odd k this is the rule of the first paper; k = S is full attention. rpb needs odd kernels, s = 1 and
/// no causal axis. Throws heed::Error, before anything is written, for shapes and options that do not fit, kernel *
/// dilation > S among them. Every position sees itself, so that no row is empty.
///
/// Runs line by line of the grid, or box by box on the fused kernel, without gathered keys: time and memory linear in
/// the tokens. The same bits for any number of threads.
/// Source: Hassani et al., Faster Neighborhood Attention, NeurIPS 2024, and Generalized Neighborhood Attention, 2025,
/// for the stride; NATTEN.
template <Real T, int Axes>
struct NeighborhoodAttention {
  static_assert(Axes >= 1 && Axes <= 3, "heed::NeighborhoodAttention: a grid has one, two or three axes");
  using PerAxis = std::array<Index, std::size_t(Axes)>;

  struct Options {
    PerAxis kernel_size{};      ///< neighbours along each axis, 1 or more
    PerAxis dilation = ones();  ///< positions from neighbour to neighbour, 1 or more
    PerAxis stride = ones();    ///< queries that share a window, 1 .. kernel_size
    std::array<bool, std::size_t(Axes)> causal{};
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };
  template <class Out, class Lse>
  struct Result {
    Out out;
    Lse lse;
  };

  Options options = {};
  Tensor<T, Axes + 1> rpb = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("rpb", rpb, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Operand Q, Operand K, Operand V, Operand E, Operand F>
  auto operator()(const Q& q, const K& k, const V& v, const E& k_extra, const F& v_extra) const {
    return (*this)(DeviceRef(), q, k, v, k_extra, v_extra);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    return (*this)(device, q, k, v, View<const T, 4>(), View<const T, 4>());
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand E, Operand F>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const E& k_extra, const F& v_extra) const {
    constexpr int rank = Axes + 3;
    static_assert(kOperandRank<Q> == rank && kOperandRank<K> == rank && kOperandRank<V> == rank &&
                      kOperandRank<E> == 4 && kOperandRank<F> == 4,
                  "heed::NeighborhoodAttention: q, k and v are (B, S_1, .., S_d, heads, D), extra ones (B, M, Hk, D)");
    static_assert(
        std::same_as<OperandScalar<Q>, T> && std::same_as<OperandScalar<K>, T> && std::same_as<OperandScalar<V>, T>,
        "heed::NeighborhoodAttention<T>: q, k and v are of T");
    check(sizes_of(q), sizes_of(k), sizes_of(v), sizes_of(k_extra), sizes_of(v_extra));
    const auto sizes = out_sizes(sizes_of(q), sizes_of(v));
    std::array<Index, rank - 1> rows;
    std::copy_n(sizes.begin(), rank - 1, rows.begin());
    auto out = make_output<T, rank>(kName, sizes, q, k, v, k_extra, v_extra);
    auto lse = make_output<T, rank - 1>(kName, rows, q, k, v, k_extra, v_extra);
    if constexpr (AnyRecorded<Q, K, V, E, F>) {
      attend_neighborhoods(device, neighborhoods(sizes_of(q)[rank - 1]), grid<6>(q), grid<6>(k), grid<6>(v), k_extra,
                           v_extra, table(), grid<6>(out), grid<5>(lse));
    } else {
      run(device, q, k, v, k_extra, v_extra, view(out), view(lse));
    }
    return Result<decltype(out), decltype(lse)>{std::move(out), std::move(lse)};
  }
  /// Into the caller's memory: into(out), or into(out, lse).
  template <Device D, TensorLike Q, TensorLike K, TensorLike V>
  void operator()(const D& device, const Q& q, const K& k, const V& v, const Into<T, Axes + 3, T>& target) const {
    (*this)(device, q, k, v, View<const T, 4>(), View<const T, 4>(), target);
  }
  template <Device D, TensorLike Q, TensorLike K, TensorLike V, TensorLike E, TensorLike F>
  void operator()(const D& device, const Q& q, const K& k, const V& v, const E& k_extra, const F& v_extra,
                  const Into<T, Axes + 3, T>& target) const {
    check(sizes_of(q), sizes_of(k), sizes_of(v), sizes_of(k_extra), sizes_of(v_extra));
    const auto sizes = out_sizes(sizes_of(q), sizes_of(v));
    require_shape(kName, "out", target.out.sizes, sizes);
    std::array<Index, Axes + 2> rows;
    std::copy_n(sizes.begin(), Axes + 2, rows.begin());
    if (target.has_lse()) require_shape(kName, "lse", target.lse.sizes, rows);
    run(device, q, k, v, k_extra, v_extra, target.out, target.lse);
  }

 private:
  static constexpr std::string_view kName = "neighborhood_attention";

  static constexpr PerAxis ones() {
    PerAxis result{};
    for (Index& x : result) x = 1;
    return result;
  }

  // Axes of size 1 behind the first, up to three of the grid.
  template <int Rank, class X>
  static auto grid(const X& x) {
    if constexpr (X::rank == Rank) {
      return x;
    } else {
      return grid<Rank>(x.split(1, sizes_of(x)[1]));
    }
  }

  template <class D, class Q, class K, class V, class E, class F>
  void run(const D& device, const Q& q, const K& k, const V& v, const E& k_extra, const F& v_extra,
           const View<T, Axes + 3>& out, const View<T, Axes + 2>& lse) const {
    const NeighborhoodTensors<const T> tensors{grid<6>(const_view(q)), grid<6>(const_view(k)), grid<6>(const_view(v)),
                                               const_view(k_extra),    const_view(v_extra),    table()};
    attend_neighborhoods(device, neighborhoods(tensors.q.size(5)), tensors, grid<6>(out),
                         lse.data ? grid<5>(lse) : View<T, 5>());
  }

  View<const T, 4> table() const { return rpb.size() == 0 ? View<const T, 4>() : grid<4>(const_view(rpb)); }

  template <std::size_t Rank>
  static std::array<Index, Rank> out_sizes(std::array<Index, Rank> q, const std::array<Index, Rank>& v) {
    q[Rank - 1] = v[Rank - 1];
    return q;
  }

  Neighborhoods neighborhoods(Index width) const {
    Neighborhoods result;
    for (std::size_t a = 0; a < std::size_t(Axes); ++a) {
      const std::size_t at = a + 3 - std::size_t(Axes);
      result.kernel[at] = options.kernel_size[a];
      result.dilation[at] = options.dilation[a];
      result.stride[at] = options.stride[a];
      result.causal[at] = options.causal[a];
    }
    result.scale = options.scale.value_or(1 / std::sqrt(double(width)));
    return result;
  }

  template <std::size_t Rank>
  void check(const std::array<Index, Rank>& q, const std::array<Index, Rank>& k, const std::array<Index, Rank>& v,
             const std::array<Index, 4>& k_extra, const std::array<Index, 4>& v_extra) const {
    const Index heads = q[Rank - 2], kv_heads = k[Rank - 2], width = q[Rank - 1], value_width = v[Rank - 1];
    auto expected = q;
    expected[Rank - 2] = kv_heads;
    require_shape(kName, "k", k, expected);
    expected[Rank - 1] = value_width;
    require_shape(kName, "v", v, expected);
    require(width > 0 && value_width > 0, kName, "D and Dv must be 1 or more, got ", width, " and ", value_width);
    require(heads > 0 && kv_heads > 0 && heads % kv_heads == 0, kName, "the heads of q, ", heads,
            ", must be a multiple of those of k, ", kv_heads);
    bool classic = true;
    for (std::size_t a = 0; a < std::size_t(Axes); ++a) {
      const Index kernel = options.kernel_size[a], dilation = options.dilation[a], stride = options.stride[a];
      require(kernel > 0 && dilation > 0 && kernel <= q[a + 1] / dilation, kName, "kernel_size ", kernel,
              " times dilation ", dilation, " of axis ", a, " must be in 1 .. S = ", q[a + 1]);
      require(stride > 0 && stride <= kernel, kName, "stride of axis ", a, " must be in 1 .. kernel_size = ", kernel,
              ", got ", stride);
      require(q[a + 1] < (Index(1) << 24), kName, "an axis has fewer than 2^24 positions, got ", q[a + 1]);
      classic = classic && kernel % 2 == 1 && stride == 1 && !options.causal[a];
    }
    require(!options.scale || std::isfinite(*options.scale), kName, "the scale must be finite, got ",
            options.scale.value_or(0));
    if (rpb.size() > 0) {
      require(classic, kName, "rpb needs odd kernels, stride 1 and no causal axis");
      std::array<Index, Rank - 2> table{heads};
      for (std::size_t a = 0; a < std::size_t(Axes); ++a) table[a + 1] = 2 * options.kernel_size[a] - 1;
      require_shape(kName, "rpb", const_view(rpb).sizes, table);
    }
    const Index more = k_extra[1];
    if (more == 0 && v_extra[1] == 0) return;
    require_shape(kName, "k_extra", k_extra, {q[0], more, kv_heads, width});
    require_shape(kName, "v_extra", v_extra, {q[0], more, kv_heads, value_width});
  }
};

}  // namespace heed::inline HEED_ISA
