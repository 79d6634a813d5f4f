// SPDX-License-Identifier: Apache-2.0
// What a score modifier reads and has a gradient: how its elements belong to pairs of query and key, and the place that
// seeds their derivatives.
#pragma once

#include "heed/attention/at.hpp"
#include "heed/simd/dual.hpp"

namespace heed::inline HEED_ISA {

/// A tensor that a modifier reads, as it stands to pairs (b, h, i, j): an axis that it does not depend on has size 1
/// and stride 0. The gradient has the same strides.
struct ScoreParameter {
  const void* data = nullptr;  ///< null: not there
  std::size_t element = 0;     ///< bytes of one
  std::array<Index, 4> sizes{1, 1, 1, 1}, strides{};

  /// Read by j - p_i: row x of `length` belongs to element bucket[x] of axis `sizes[2]`.
  const std::int32_t* bucket = nullptr;
  Index length = 0, reach = 0;
};

/// values (H), read by at.of_head.
template <class U>
ScoreParameter per_head(const View<const U, 1>& values) {
  return {values.data, sizeof(U), {1, values.size(0), 1, 1}, {0, values.stride(0), 0, 0}};
}
/// values (N), read by at.of_query.
template <class U>
ScoreParameter per_query(const View<const U, 1>& values) {
  return {values.data, sizeof(U), {1, 1, values.size(0), 1}, {0, 0, values.stride(0), 0}};
}
/// values (M), read by at.of_key.
template <class U>
ScoreParameter per_key(const View<const U, 1>& values) {
  return {values.data, sizeof(U), {1, 1, 1, values.size(0)}, {0, 0, 0, values.stride(0)}};
}
/// values (B, H, N, M), any axis 1, read by at.of_pair or by way of a plane.
template <class U>
ScoreParameter per_pair(const View<const U, 4>& values) {
  ScoreParameter parameter{values.data, sizeof(U)};
  for (int axis = 0; axis < 4; ++axis) {
    parameter.sizes[std::size_t(axis)] = values.size(axis);
    parameter.strides[std::size_t(axis)] = values.size(axis) == 1 ? 0 : values.stride(axis);
  }
  return parameter;
}

namespace detail {

/// Tensors that a modifier declares, by `for_each_parameter(f)` with f(ScoreParameter): always kParameters of them,
/// those that are not there with null data.
template <class F>
inline constexpr int kParametersOf = [] {
  if constexpr (requires { F::kParameters; }) {
    return F::kParameters;
  } else {
    return 0;
  }
}();

template <class F, class Visitor>
void visit_parameters(const F& modifier, Visitor&& f) {
  if constexpr (kParametersOf < F >> 0) modifier.for_each_parameter(f);
}

/// The place of a batch of scores whose modifiers are evaluated on duals: variable 0 is the score, variable 1 + k
/// parameter k.
template <Real T, Lanes L, int K>
struct DualAt : At<T, L> {
  using Place = At<T, L>;
  using Score = simd::Dual<T, 1 + K>;

  const ScoreParameter* parameters = nullptr;

  template <class U>
  Score of_head(const View<const U, 1>& values) const {
    return seeded(Place::of_head(values), values.data);
  }
  template <class U>
  Score of_query(const View<const U, 1>& values) const {
    return seeded(Place::of_query(values), values.data);
  }
  template <class U>
  Score of_key(const View<const U, 1>& values) const {
    return seeded(Place::of_key(values), values.data);
  }
  template <class U>
  Score of_pair(const View<const U, 4>& values) const {
    return seeded(Place::of_pair(values), values.data);
  }
  template <class U>
  Score of_plane(const View<const U, 4>& values) const {
    return seeded(Place::of_plane(values), values.data);
  }
  template <class U>
  Score of_distance(const DistanceRows<U>& rows) const {
    return seeded(Place::of_distance(rows), rows.parameter);
  }

 private:
  HEED_INLINE Score seeded(simd::Batch<T> x, const void* data) const {
    Score y(x);
    if constexpr (K > 0) {
      for (int k = 0; k < K; ++k)
        if (parameters[k].data == data) y.d[1 + k] = simd::Batch<T>(T(1));
    }
    return y;
  }
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
