// SPDX-License-Identifier: Apache-2.0
// top_k: the largest elements of every row, and where they are.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/row_access.hpp"
#include "heed/kernel/top_k.hpp"

namespace heed::inline HEED_ISA {

/// What top_k gives, both (.., k): values in the type of x, and their indices along its last axis.
template <class U, int Rank>
struct TopK {
  Tensor<U, Rank> values;
  Tensor<std::int32_t, Rank> indices;
};

/// In which order top_k gives what it has found.
enum class TopKOrder {
  kValue,  ///< from the largest on; of equal ones the lower index first
  kIndex,  ///< by ascending index
};

/// The k largest elements along the last axis of x (.., M). Of equal ones those of lower index are taken. Elements that
/// are -infinity or NaN are never taken; where there are fewer than k others, the places at the end hold -infinity and
/// index -1. Any strides and storage. Throws heed::Error for a negative k. Time O(M + k log k log M) a row in random
/// order; memory O(M + k) a thread.
///
/// No gradient: the choice has none, and what was chosen is gathered (block/gather.hpp), which has.
template <Device D, Operand X>
auto top_k(const D& device, const X& x, Index k, TopKOrder order = TopKOrder::kValue) {
  constexpr int rank = kOperandRank<X>;
  using U = OperandScalar<X>;
  using T = Compute<U>;
  require(k >= 0, "top_k", "k must be 0 or more, got ", k);
  const auto from = values_of(x);
  auto sizes = from.sizes;
  sizes.back() = k;
  TopK<U, rank> result;
  result.values.resize(sizes);
  result.indices.resize(sizes);
  const kernel::Rows rows(from);
  const Index width = rows.width(), band = std::max<Index>(1, 16384 / std::max<Index>(1, width));
  if (k == 0) return result;
  parallel_for(device, (rows.count() + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    auto* const best = frame.take<kernel::Ranked<T>>(k);
    for (Index r = unit * band; r < std::min(rows.count(), (unit + 1) * band); ++r) {
      const T* const row = width > 0 ? kernel::packed<T>(rows.row(r), rows.stride(), width, copy) : nullptr;
      const Index count = kernel::top_k<T>(row, width, k, best);
      if (order == TopKOrder::kIndex)
        std::sort(best, best + count, [](const auto& a, const auto& b) { return a.index < b.index; });
      for (Index i = 0; i < k; ++i) {
        result.values.data()[r * k + i] =
            static_cast<U>(i < count ? best[i].value : -std::numeric_limits<T>::infinity());
        result.indices.data()[r * k + i] = i < count ? best[i].index : -1;
      }
    }
  });
  return result;
}
template <Operand X>
auto top_k(const X& x, Index k, TopKOrder order = TopKOrder::kValue) {
  return top_k(DeviceRef(), x, k, order);
}

}  // namespace heed::inline HEED_ISA
