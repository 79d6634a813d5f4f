// SPDX-License-Identifier: Apache-2.0
// Scalar types: what tensors store and what the kernels compute in.
#pragma once

#include <Eigen/Core>
#include <concepts>
#include <type_traits>

#include "heed/core/isa.hpp"

namespace heed {

using Index = Eigen::Index;
using bfloat16 = Eigen::bfloat16;
using half = Eigen::half;

inline namespace HEED_ISA {

/// What the kernels compute in.
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

/// What a tensor may store: float, double, or a 16-bit float that is widened to float as it is read.
template <class T>
concept Storage = Real<T> || std::same_as<T, bfloat16> || std::same_as<T, half>;

namespace detail {
template <class T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
}  // namespace detail

/// The type that storage T is computed in: double for double, float for everything else.
template <Storage T>
using Compute = typename detail::Compute<T>::type;

}  // namespace HEED_ISA
}  // namespace heed
