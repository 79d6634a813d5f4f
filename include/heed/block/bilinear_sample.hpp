// SPDX-License-Identifier: Apache-2.0
// bilinear_sample: a map read between its cells.
#pragma once

#include <algorithm>

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr Index kSampleUnit = 4096;  // products that make a unit of work

/// The two cells around a coordinate, and the share of the upper one.
template <Real T>
struct Between {
  Index low, high;
  T share;
  bool moves;  // whether the coordinate is within the map, so that it has a gradient

  Between(T at, Index size) {
    const T inside = at > 0 ? std::min(at, T(size - 1)) : T(0);  // NaN: 0
    low = std::min(Index(inside), size - 1);
    high = std::min(low + 1, size - 1);
    share = inside - T(low);
    moves = at > 0 && at < T(size - 1);
  }
};

/// Four cells of a map (h, w, C) around a point, and their shares.
template <class U>
struct Corners {
  using T = std::remove_const_t<U>;
  Between<T> x, y;
  U *a, *b, *c, *d;  // upper left, upper right, lower left, lower right

  Corners(const View<U, 3>& map, T at_x, T at_y)
      : x(at_x, map.size(1)),
        y(at_y, map.size(0)),
        a(map.at(y.low, x.low)),
        b(map.at(y.low, x.high)),
        c(map.at(y.high, x.low)),
        d(map.at(y.high, x.high)) {}
};

inline std::array<Index, 3> bilinear_sample_sizes(const std::array<Index, 4>& map, const std::array<Index, 3>& points) {
  require(map[1] > 0 && map[2] > 0, "bilinear_sample", "map must have cells, got shape ", shape_text(map));
  require(points[2] == 2 && (map[0] == points[0] || map[0] == 1), "bilinear_sample",
          "points must have shape (B, N, 2) with B of a map of shape ", shape_text(map), ", got ", shape_text(points));
  return {points[0], points[1], map[3]};
}

// Calls f(b, n) for each point, in bands of them on all threads.
template <class D, class F>
void for_each_point(const D& device, const std::array<Index, 3>& out, const F& f) {
  const Index points = out[0] * out[1], band = std::max<Index>(1, kSampleUnit / std::max<Index>(1, 4 * out[2]));
  parallel_for(device, (points + band - 1) / band, [&](Index unit) {
    for (Index i = unit * band; i < std::min(points, (unit + 1) * band); ++i) f(i / out[1], i % out[1]);
  });
}

}  // namespace detail

/// out(b, n, :) = the map at the column x and row y of points(b, n): of the four cells around, each as near as it is on
/// both axes. Cell (i, j) stands at x = j, y = i, and points beyond the map are taken at its border.
///
/// map (B, h, w, C), or (1, h, w, C) for all of the batch; points (B, N, 2), x then y; out (B, N, C). Any strides, all
/// float or all double. A coordinate of NaN is 0. Throws heed::Error for shapes that do not fit and a map without
/// cells. Time O(B N C); the same bits for any number of threads.
///
/// Gradient: of the map and the points, bilinear_sample_backward; that of a coordinate beyond the border is 0.
template <Device D, TensorLike M, TensorLike P, TensorLike O>
void bilinear_sample(const D& device, const M& map_like, const P& points_like, O&& out_like) {
  using T = ScalarOf<M>;
  static_assert(Real<T> && std::same_as<ScalarOf<P>, T> && std::same_as<ScalarOf<O>, T>,
                "heed::bilinear_sample: map, points and out are all float or all double");
  const auto map = const_view(map_like);
  const auto points = const_view(points_like);
  const auto out = view(out_like);
  const auto sizes = detail::bilinear_sample_sizes(map.sizes, points.sizes);
  require_shape("bilinear_sample", "out", out.sizes, sizes);
  const Index channels = sizes[2];
  detail::for_each_point(device, sizes, [&](Index b, Index n) {
    const detail::Corners<const T> at(map.select(0, map.size(0) == 1 ? 0 : b), points(b, n, 0), points(b, n, 1));
    const T u = at.x.share, v = at.y.share;
    const T wa = (1 - u) * (1 - v), wb = u * (1 - v), wc = (1 - u) * v, wd = u * v;
    T* const to = out.at(b, n);
    const auto mix = [&](Index from_step, Index to_step) {
      for (Index c = 0; c < channels; ++c) {
        const Index i = c * from_step;
        to[c * to_step] = wa * at.a[i] + wb * at.b[i] + wc * at.c[i] + wd * at.d[i];
      }
    };
    if (map.stride(3) == 1 && out.stride(2) == 1) {
      mix(1, 1);  // vectorised
    } else {
      mix(map.stride(3), out.stride(2));
    }
  });
}
template <Device D, Operand M, Operand P>
auto bilinear_sample(const D& device, const M& map, const P& points) {
  auto out = make_output<OperandScalar<M>, 3>(
      "bilinear_sample", detail::bilinear_sample_sizes(sizes_of(map), sizes_of(points)), map, points);
  bilinear_sample(device, map, points, out);
  return out;
}
template <Operand M, Operand P>
auto bilinear_sample(const M& map, const P& points) {
  return bilinear_sample(DeviceRef(), map, points);
}

/// The gradients of bilinear_sample, added to d_map and d_points; one of null data is not wanted. Each channel of the
/// map gets those of the points in their order: the same bits for any number of threads.
template <Device D, Real T>
void bilinear_sample_backward(const D& device, const View<const T, 4>& map, const View<const T, 3>& points,
                              const View<const T, 3>& d_out, const View<T, 4>& d_map, const View<T, 3>& d_points) {
  if (d_out.count() == 0) return;
  const bool shared = map.size(0) == 1;
  const Index batch = d_out.size(0), count = d_out.size(1), channels = d_out.size(2);
  if (d_points.data)
    detail::for_each_point(device, d_out.sizes, [&](Index b, Index n) {
      const detail::Corners<const T> at(map.select(0, shared ? 0 : b), points(b, n, 0), points(b, n, 1));
      const T u = at.x.share, v = at.y.share;
      T along_x = 0, along_y = 0;
      for (Index c = 0; c < channels; ++c) {
        const Index i = c * map.stride(3);
        const T d = d_out(b, n, c), upper = at.b[i] - at.a[i], lower = at.d[i] - at.c[i];
        along_x += d * ((1 - v) * upper + v * lower);
        along_y += d * ((1 - u) * (at.c[i] - at.a[i]) + u * (at.d[i] - at.b[i]));
      }
      if (at.x.moves) d_points(b, n, 0) += along_x;
      if (at.y.moves) d_points(b, n, 1) += along_y;
    });
  if (!d_map.data) return;
  constexpr Index kBand = 16;  // channels, a cache line of float
  const Index bands = (channels + kBand - 1) / kBand;
  parallel_for(device, (shared ? 1 : batch) * bands, [&](Index unit) {
    const Index first = unit % bands * kBand, end = std::min(channels, first + kBand);
    for (Index b = shared ? 0 : unit / bands; b < (shared ? batch : unit / bands + 1); ++b)
      for (Index n = 0; n < count; ++n) {
        const detail::Corners<T> at(d_map.select(0, shared ? 0 : b), points(b, n, 0), points(b, n, 1));
        const T u = at.x.share, v = at.y.share;
        for (Index c = first; c < end; ++c) {
          const Index i = c * d_map.stride(3);
          const T d = d_out(b, n, c);
          at.a[i] += (1 - u) * (1 - v) * d;
          at.b[i] += u * (1 - v) * d;
          at.c[i] += (1 - u) * v * d;
          at.d[i] += u * v * d;
        }
      }
  });
}

}  // namespace heed::inline HEED_ISA
