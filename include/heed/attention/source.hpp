// SPDX-License-Identifier: Apache-2.0
// Sources: where the rows of keys and values are. The kernels ask for runs of rows and never hold a whole tensor.
#pragma once

#include "heed/attention/at.hpp"

namespace heed::inline HEED_ISA {

/// Rows that lie at one stride, from some key on.
template <class U>
struct RowRun {
  const U* data = nullptr;
  Index stride = 0;  ///< from row to row
  Index inner = 1;   ///< from element to element
  Index count = 0;   ///< rows in the run

  /// What is left of it from row i on.
  RowRun from(Index i) const { return {data + i * stride, stride, inner, count - i}; }
};

/// A source gives, for any batch, key head and key index, the run of rows that starts there.
template <class S>
concept KeyValueSource = requires(const S& source, Index i) {
  typename S::Key;
  typename S::Value;
  { source.keys(i, i, i) } -> std::same_as<RowRun<typename S::Key>>;
  { source.values(i, i, i) } -> std::same_as<RowRun<typename S::Value>>;
};

/// Keys (B, Hk, M, D) and values (B, Hk, M, Dv) in tensors of any strides.
template <Storage UK, Storage UV>
struct TensorSource {
  using Key = UK;
  using Value = UV;
  View<const UK, 4> k;
  View<const UV, 4> v;

  RowRun<UK> keys(Index b, Index head, Index key) const {
    return {k.at(b, head, key), k.stride(2), k.stride(3), k.size(2) - key};
  }
  RowRun<UV> values(Index b, Index head, Index key) const {
    return {v.at(b, head, key), v.stride(2), v.stride(3), v.size(2) - key};
  }
};

}  // namespace heed::inline HEED_ISA
