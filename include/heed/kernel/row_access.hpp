// SPDX-License-Identifier: Apache-2.0
// Rows of tensors of any strides and storage, brought to contiguous numbers of the type that kernels compute in.
#pragma once

#include "heed/core/device.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// The rows of a view: they run along its last axes, of which row() takes the others in order.
template <class U, int Rank>
class Rows {
 public:
  /// Rows along the last axis.
  explicit Rows(const View<U, Rank>& view) : Rows(view, 1) {}
  /// Rows along the last `merged` axes, which lie as one: stride(a) = size(a + 1) * stride(a + 1). With 0 of them each
  /// element is a row.
  Rows(const View<U, Rank>& view, int merged) : view_(view), outer_(Rank - merged) {
    for (int axis = 0; axis < Rank; ++axis) (axis < outer_ ? count_ : width_) *= view.size(axis);
  }

  Index count() const { return count_; }
  Index width() const { return width_; }
  Index stride() const { return view_.stride(Rank - 1); }

  U* row(Index i) const {
    U* address = view_.data;
    for (int axis = outer_ - 1; axis > 0; --axis) {
      address += i % view_.size(axis) * view_.stride(axis);
      i /= view_.size(axis);
    }
    return outer_ > 0 ? address + i * view_.stride(0) : address;
  }

 private:
  View<U, Rank> view_;
  int outer_;
  Index count_ = 1, width_ = 1;
};
template <class U, int Rank>
Rows(const View<U, Rank>&) -> Rows<U, Rank>;

/// `count` elements as contiguous T: those in memory where they are that, a copy in `scratch` otherwise.
template <Real T, class U>
HEED_INLINE const T* packed(const U* from, Index stride, Index count, T* scratch) {
  if constexpr (std::same_as<T, std::remove_const_t<U>>)
    if (stride == 1) return from;
  copy_rows<T>(from, 0, stride, 1, count, scratch, 0);
  return scratch;
}

/// Where to make `count` elements that end in `to`: there if it is contiguous T, in `scratch` otherwise, from where
/// put() brings them.
template <Real T, class U>
HEED_INLINE T* packed_target(U* to, Index stride, T* scratch) {
  if constexpr (std::same_as<T, U>)
    if (stride == 1) return to;
  return scratch;
}
template <Real T, class U>
HEED_INLINE void put(const T* made, Index count, U* to, Index stride) {
  if constexpr (std::same_as<T, U>)
    if (made == to) return;
  for (Index i = 0; i < count; ++i) to[i * stride] = static_cast<U>(made[i]);
}

/// The same for a row that is added to: the elements of `to` as contiguous T.
template <Real T, class U>
HEED_INLINE T* packed_sum(U* to, Index stride, Index count, T* scratch) {
  T* const target = packed_target<T>(to, stride, scratch);
  if (target == scratch) copy_rows<T>(to, 0, stride, 1, count, scratch, 0);
  return target;
}

/// A whole small tensor as contiguous T for the lifetime of the frame, or null for an empty one.
template <Real T, class U>
const T* packed_vector(ScratchFrame& frame, const View<const U, 1>& x) {
  if (x.size(0) == 0) return nullptr;
  return packed<T>(x.data, x.stride(0), x.size(0), frame.take<T>(x.size(0)));
}

/// x += the sum of `bands` rows of as many numbers, one after the other; nothing if x has no data.
template <Real T, class U>
void add_bands(const T* rows, Index bands, const View<U, 1>& x) {
  if (!x.data) return;
  ScratchFrame frame;
  const Index width = x.size(0);
  T* const sum = packed_sum<T>(x.data, x.stride(0), width, frame.take<T>(width));
  for (Index band = 0; band < bands; ++band)
    for (Index i = 0; i < width; ++i) sum[i] += rows[band * width + i];
  put<T>(sum, width, x.data, x.stride(0));
}

/// Calls f(first, lanes) over batches of `width` elements: lanes = kLanes, but for the last batch.
template <Real T, class F>
HEED_INLINE void for_lanes(Index width, F&& f) {
  constexpr Index w = simd::kLanes<T>;
  Index i = 0;
  for (; i + w <= width; i += w) f(i, std::integral_constant<Index, w>());
  if (i < width) f(i, width - i);
}

/// A batch from contiguous T; zeros behind the first `lanes`.
template <Real T>
HEED_INLINE simd::Batch<T> load_lanes(const T* from, std::integral_constant<Index, simd::kLanes<T>>) {
  return simd::load(from);
}
template <Real T>
HEED_INLINE simd::Batch<T> load_lanes(const T* from, Index lanes) {
  return simd::load_partial<T>(from, lanes);
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
