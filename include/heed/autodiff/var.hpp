// SPDX-License-Identifier: Apache-2.0
// Var: a tensor on a tape.
#pragma once

#include <cstdint>

#include "heed/core/operand.hpp"

namespace heed::inline HEED_ISA {

template <Real T>
class Tape;

/// A tensor on a heed::Tape: what blocks and operators are given in place of tensors, so that what they do is recorded.
/// It refers to the tape, which must outlive it, and is copied at no cost. Until Tape::clear() it holds values, to
/// which the views of its parts refer as well: taking parts (permute, slice, stepped, select, split, merge, promote,
/// reshape) is as for heed::View, copies nothing and records nothing, and gradients come out in the right places.
template <Real T, int Rank>
class Var {
 public:
  using Scalar = T;
  using RecordedOn = Tape<T>;
  static constexpr int rank = Rank;

  /// No elements, on no tape: an output that was not asked for.
  Var() = default;

  /// The values. Throws heed::Error when the tape was cleared since.
  const View<const T, Rank>& value() const {
    if (tape_) tape_->check(*this, "Var::value");
    return value_;
  }
  const std::array<Index, Rank>& sizes() const { return value_.sizes; }
  Index size(int axis) const { return value_.size(axis); }
  Index count() const { return value_.count(); }
  Tape<T>* tape() const { return tape_; }

  Var permute(const std::array<int, Rank>& order) const { return part(value_.permute(order)); }
  Var slice(int axis, Index start, Index length) const { return part(value_.slice(axis, start, length)); }
  Var stepped(int axis, Index first, Index step) const { return part(value_.stepped(axis, first, step)); }
  Var<T, Rank - 1> select(int axis, Index index) const requires(Rank > 1) { return part(value_.select(axis, index)); }
  Var<T, Rank + 1> split(int axis, Index inner) const { return part(value_.split(axis, inner)); }
  Var<T, Rank - 1> merge(int axis) const requires(Rank > 1) { return part(value_.merge(axis)); }
  Var<T, Rank - 1> diagonal(int axis) const requires(Rank > 1) { return part(value_.diagonal(axis)); }
  template <int To>
  Var<T, To> promote() const {
    return part(value_.template promote<To>());
  }
  template <int To>
  Var<T, To> reshape(const std::array<Index, To>& target) const {
    return part(value_.template reshape<To>(target));
  }

 private:
  template <Real U, int R>
  friend class Var;
  friend class Tape<T>;

  Var(Tape<T>* tape, std::uint64_t recording, Index node, const View<const T, Rank>& value, T* gradient)
      : tape_(tape), recording_(recording), node_(node), value_(value), gradient_(gradient) {}

  // The gradient mirrors the values: a part of one is at the same offset in the other.
  template <int To>
  Var<T, To> part(const View<const T, To>& values) const {
    return {tape_, recording_, node_, values, gradient_ ? gradient_ + (values.data - value_.data) : nullptr};
  }

  Tape<T>* tape_ = nullptr;
  std::uint64_t recording_ = 0;
  Index node_ = -1;  // none where there are no elements
  View<const T, Rank> value_;
  T* gradient_ = nullptr;  // that of the first element; null for constants
};

}  // namespace heed::inline HEED_ISA
