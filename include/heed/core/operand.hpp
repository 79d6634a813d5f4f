// SPDX-License-Identifier: Apache-2.0
// What a block works on: tensors, or variables that record what is done to them.
#pragma once

#include "heed/core/scratch.hpp"
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

/// The tape of the variables among the arguments of a recorded call. Throws heed::Error naming `where` if none of them
/// has one.
template <class First, class... Rest>
auto& tape_of(std::string_view where, const First& first, const Rest&... rest) {
  if constexpr (Recorded<First>) {
    require(first.tape() != nullptr, where, "a variable on no tape");
    return *first.tape();
  } else {
    static_assert(sizeof...(Rest) > 0);
    return tape_of(where, rest...);
  }
}

/// An output of an operator whose operands are x..., not yet written: a tensor of T, or a variable on their tape.
template <class T, int Rank, Operand... X>
auto make_output(std::string_view where, const std::array<Index, std::size_t(Rank)>& sizes,
                 [[maybe_unused]] const X&... x) {
  if constexpr (AnyRecorded<X...>) {
    return tape_of(where, x...).template make<Rank>(sizes);
  } else {
    Tensor<T, Rank> out;
    out.resize(sizes);
    return out;
  }
}

/// The memory of an output that is being written.
template <class X>
auto writable(X&& x) {
  if constexpr (Recorded<X>) {
    return x.tape()->written(x);
  } else {
    return view(x);
  }
}

/// The intermediates of an operator: space.template make<Rank>(sizes) gives views of this thread's scratch memory, for
/// the lifetime of this object, or variables where one of the operands is recorded.
template <Real T>
class ScratchTensors {
 public:
  template <int Rank>
  View<T, Rank> make(const std::array<Index, std::size_t(Rank)>& sizes) {
    View<T, Rank> result(nullptr, sizes);
    result.data = frame_.take<T>(result.count());
    return result;
  }

 private:
  ScratchFrame frame_;
};
template <Real T, Operand... X>
requires AnyRecorded<X...>
auto& intermediates(std::string_view where, const X&... x) { return tape_of(where, x...); }
template <Real T, TensorLike... X>
ScratchTensors<T> intermediates(std::string_view, const X&...) {
  return {};
}

namespace detail {
template <class U, int Rank>
void copy_elements(const View<const U, Rank>& from, const View<U, Rank>& to) {
  if (from.count() == 0) return;
  if constexpr (Rank == 1) {
    for (Index i = 0; i < from.size(0); ++i) to(i) = from(i);
  } else {
    for (Index i = 0; i < from.size(0); ++i) copy_elements(from.select(0, i), to.select(0, i));
  }
}
}  // namespace detail

/// p as the operand of a block that no other operand tells to record: a variable where one of x... is a variable, else
/// the view of p. A tensor whose gradient goes through such a block, a parameter or an input beside a variable, is
/// passed through here first.
template <Operand P, Operand... X>
auto parameter_with(const P& p, [[maybe_unused]] const X&... x) {
  if constexpr (Recorded<P>) {
    return p;
  } else if constexpr (AnyRecorded<X...>) {
    return tape_of("parameter_with", x...).parameter(p);
  } else {
    return const_view(p);
  }
}

/// A tensor that an operator computed without regard to its operands (position codes), to be used beside them: where
/// one of x... is a variable, a constant that lives as long as the recording.
template <TensorLike P, Operand... X>
auto constant_with(P&& p, [[maybe_unused]] const X&... x) {
  static_assert(!std::is_lvalue_reference_v<P>, "heed::constant_with: takes the tensor");
  if constexpr (AnyRecorded<X...>) {
    return tape_of("constant_with", x...).constant(std::move(p));
  } else {
    return std::remove_cvref_t<P>(std::move(p));
  }
}

/// The values of a tensor or variable as a constant: what is made of it has no gradient towards x.
template <Operand X>
auto detached(const X& x) {
  if constexpr (Recorded<X>) {
    return tape_of("detached", x).constant(x.value());
  } else {
    return const_view(x);
  }
}

/// A copy in row-major order of indices or a mask, which lives as long as the recording where one of x... is a
/// variable.
template <TensorLike P, Operand... X>
auto packed_with(const P& p, [[maybe_unused]] const X&... x) {
  const auto from = const_view(p);
  if constexpr (AnyRecorded<X...>) {
    return tape_of("packed_with", x...).keep(from);
  } else {
    Tensor<ScalarOf<P>, kRankOf<P>> copy;
    copy.resize(from.sizes);
    detail::copy_elements(from, View<ScalarOf<P>, kRankOf<P>>(copy));
    return copy;
  }
}

}  // namespace heed::inline HEED_ISA
