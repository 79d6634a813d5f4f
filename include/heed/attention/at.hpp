// SPDX-License-Identifier: Apache-2.0
// Where a batch of scores stands: what score modifiers and visibility rules are told.
#pragma once

#include "heed/core/tensor.hpp"
#include "heed/simd/convert.hpp"

namespace heed::inline HEED_ISA {

/// The sizes of one attention: q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv).
struct AttentionShape {
  Index batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0, width = 0, value_width = 0;
};

/// What the lanes of a batch of scores are.
enum class Lanes { kQueries, kKeys };

/// Values by j - p_i, constant from `reach` on in either direction: rows over distances, ascending for lanes over keys
/// and descending for lanes over queries, so that either is one contiguous load.
template <class U>
struct DistanceRows {
  const U* by_key = nullptr;    ///< of head 0
  const U* by_query = nullptr;  ///< of head 0
  Index length = 0;             ///< of a row, heads following each other
  Index reach = 0;
  const void* parameter = nullptr;  ///< the tensor that the values come from
};

/// The place of a batch of scores s(batch, head, query, key). Its lanes are consecutive queries of one key, or
/// consecutive keys of one query: what a functor computes from query(), key(), position() and distance() is right for
/// both.
template <Real T, Lanes L>
struct At {
  using Scalar = T;
  using Batch = simd::Batch<T>;
  using Integers = simd::IndexBatch<T>;

  Index batch = 0;    ///< b
  Index head = 0;     ///< h, of the query
  Index kv_head = 0;  ///< h * Hk / H, of the key
  Index first_query = 0;
  Index first_key = 0;
  Index count = simd::kLanes<T>;  ///< lanes that stand for a pair; the results of the others are discarded
  Index offset = 0;               ///< position(query) = query + offset
  const T* plane = nullptr;       ///< this batch's place in the first of the modifier's planes; null if it has none
  Index plane_size = 0;

  /// Query indices i, by lane.
  Integers query() const { return lanes<Lanes::kQueries>(first_query); }
  /// Key indices j, by lane.
  Integers key() const { return lanes<Lanes::kKeys>(first_key); }
  /// Positions p_i of the queries on the key axis: the last query stands on the last key unless said otherwise.
  Integers position() const { return lanes<Lanes::kQueries>(first_query + offset); }
  /// p_i - j, exact below 2^24 (float).
  Batch distance() const {
    const Index first = first_query + offset - first_key;
    return L == Lanes::kQueries ? simd::to_real<T>(simd::iota<T>() + splat(first))
                                : simd::to_real<T>(splat(first) - simd::iota<T>());
  }

  /// values[h].
  template <class U>
  Batch of_head(const View<const U, 1>& values) const {
    return Batch(simd::widen<T>(values(head)));
  }
  /// values[i] by lane; values of storage U with any stride.
  template <class U>
  Batch of_query(const View<const U, 1>& values) const {
    return simd::load_strided<T>(values.at(first_query), L == Lanes::kQueries ? values.stride(0) : 0, count);
  }
  /// values[j] by lane.
  template <class U>
  Batch of_key(const View<const U, 1>& values) const {
    return simd::load_strided<T>(values.at(first_key), L == Lanes::kKeys ? values.stride(0) : 0, count);
  }
  /// values(b, h, i, j) by lane, any axis 1 to broadcast. Against the grain of memory (lanes over queries, rows of
  /// keys) this is a gather; a modifier that reads such a tensor declares a plane instead.
  template <class U>
  Batch of_pair(const View<const U, 4>& values) const {
    const auto step = [&](int axis) { return values.size(axis) == 1 ? 0 : values.stride(axis); };
    return simd::load_strided<T>(
        values.data + batch * step(0) + head * step(1) + first_query * step(2) + first_key * step(3),
        step(L == Lanes::kQueries ? 2 : 3), count);
  }
  /// The same by way of the modifier's first plane, filled from `values`, where there are planes.
  template <class U>
  Batch of_plane(const View<const U, 4>& values) const {
    if constexpr (L == Lanes::kQueries) {
      return simd::load_aligned(plane);
    } else {
      return of_pair(values);
    }
  }
  /// The value of j - p_i by lane.
  template <class U>
  Batch of_distance(const DistanceRows<U>& rows) const {
    return simd::load_as<T>((L == Lanes::kKeys ? rows.by_key : rows.by_query) + head * rows.length +
                            distance_place(rows.reach));
  }
  /// Where in its row a batch of them starts.
  Index distance_place(Index reach) const {
    const Index ahead = first_key - first_query - offset;  // j - p_i of the first lane
    return std::clamp(L == Lanes::kKeys ? ahead : -ahead, -reach, reach) + reach;
  }

 private:
  static Integers splat(Index x) { return Integers(simd::IndexLane<T>(x)); }
  template <Lanes Moving>
  Integers lanes(Index first) const {
    if constexpr (L == Moving) {
      return splat(first) + simd::iota<T>();
    } else {
      return splat(first);
    }
  }
};

/// A tile of pairs whose planes a modifier or rule is asked to fill.
struct PairTile {
  Index batch = 0, head = 0;
  Index first_query = 0, queries = 0;
  Index first_key = 0, keys = 0;
};

namespace detail {

template <class X>
inline constexpr int kPlanesOf = [] {
  if constexpr (requires { X::kPlanes; }) {
    return X::kPlanes;
  } else {
    return 0;
  }
}();

// The same place with the planes of an earlier part of the composition left behind.
template <int Planes, class A>
HEED_INLINE A skip_planes(A at) {
  if (at.plane) at.plane += Planes * at.plane_size;
  return at;
}

template <class X, Real T>
HEED_INLINE void fill_planes(const X& x, const PairTile& tile, T* plane, Index plane_size) {
  if constexpr (kPlanesOf < X >> 0) x.fill(tile, plane, plane_size);
}

template <class X>
void check_part(const X& x, const AttentionShape& shape) {
  if constexpr (requires { x.check(shape); }) x.check(shape);
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
