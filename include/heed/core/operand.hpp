// SPDX-License-Identifier: Apache-2.0
// What a block works on: tensors, or variables that record what is done to them.
#pragma once

#include "heed/core/tensor.hpp"

namespace heed::inline HEED_ISA {

/// A variable on a tape (heed::Var), known by its member type RecordedOn. It is not TensorLike: what does not know how
/// to record cannot take one, so that no gradient is lost silently.
template <class X>
concept Recorded = requires {
  typename std::remove_cvref_t<X>::RecordedOn;
};

/// What the body of an operator may be given: the same lines compute on tensors and record on variables.
template <class X>
concept Operand = TensorLike<X> || Recorded<X>;

/// Whether one of several arguments is a variable, so that the whole call is recorded.
template <class... X>
concept AnyRecorded = (Recorded<X> || ...);

/// A variable is its own view: `view(x).permute(...)` stands for tensors and variables alike.
template <Recorded X>
const X& view(const X& x) {
  return x;
}

namespace detail {
template <class X>
struct OperandTraits {
  using Scalar = ScalarOf<X>;
  static constexpr int rank = kRankOf<X>;
};
template <Recorded X>
struct OperandTraits<X> {
  using Scalar = typename X::Scalar;
  static constexpr int rank = X::rank;
};
}  // namespace detail

template <Operand X>
using OperandScalar = typename detail::OperandTraits<std::remove_cvref_t<X>>::Scalar;
template <Operand X>
inline constexpr int kOperandRank = detail::OperandTraits<std::remove_cvref_t<X>>::rank;

namespace detail {
/// The view that an object keeps of a variable's values, which live as long as its tape holds them.
template <Recorded X>
auto kept_view(const X& x) {
  return x.value();
}
}  // namespace detail

/// The sizes of a tensor or variable, a std::array.
template <Operand X>
auto sizes_of(const X& x) {
  if constexpr (Recorded<X>) {
    return x.sizes();
  } else {
    return const_view(x).sizes;
  }
}

/// The read-only values of a tensor or variable, for what has no gradient.
template <Operand X>
auto values_of(const X& x) {
  if constexpr (Recorded<X>) {
    return x.value();
  } else {
    return const_view(x);
  }
}

}  // namespace heed::inline HEED_ISA
