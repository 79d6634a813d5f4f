// SPDX-License-Identifier: Apache-2.0
// embedding: rows of a table, by index.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/kernel/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <int Rank, class U>
std::array<Index, std::size_t(Rank) + 1> embedding_sizes(const View<const std::int32_t, Rank>& indices,
                                                         const View<U, 2>& table) {
  std::array<Index, std::size_t(Rank) + 1> sizes;
  std::copy(indices.sizes.begin(), indices.sizes.end(), sizes.begin());
  sizes.back() = table.size(1);
  return sizes;
}

template <class I>
void check_indices(std::string_view where, const I& indices, Index entries) {
  for (Index i = 0; i < indices.count(); ++i)
    require(*indices.row(i) >= 0 && *indices.row(i) < entries, where, "index ", *indices.row(i), " (number ", i,
            ") is outside of the table's 0 .. ", entries - 1);
}

}  // namespace detail

/// out[..., :] = table[indices[...], :]: table (V, C), indices (...) int32 of any rank, out (..., C) of the table's
/// type.
///
/// Any strides and storage. Throws heed::Error, before anything is written, for an index outside of [0, V) and for
/// shapes that do not fit. Time O(indices * C).
/// Gradient: to the table, by embedding_backward; the indices have none.
template <Device D, TensorLike W, TensorLike I, TensorLike O>
void embedding(const D& device, const W& table, const I& indices, O&& out) {
  static_assert(kRankOf<W> == 2, "heed::embedding: the table is (V, C)");
  static_assert(std::same_as<ScalarOf<I>, std::int32_t>, "heed::embedding: indices must hold std::int32_t");
  static_assert(std::same_as<ScalarOf<W>, ScalarOf<O>>, "heed::embedding: out has the table's scalar type");
  const auto entries = const_view(table);
  const auto at = const_view(indices);
  const auto target = view(out);
  require_shape("embedding", "out", target.sizes, detail::embedding_sizes(at, entries));
  const kernel::Rows which(at, 0);
  detail::check_indices("embedding", which, entries.size(0));
  kernel::gather_rows(device, entries, which, kernel::Rows(target));
}
template <Device D, Operand W, TensorLike I>
auto embedding(const D& device, const W& table, const I& indices) {
  const auto sizes = detail::embedding_sizes(const_view(indices), values_of(table));
  auto out = make_output<OperandScalar<W>, kRankOf<I> + 1>("embedding", sizes, table);
  embedding(device, table, indices, out);
  return out;
}
template <Operand W, TensorLike I>
auto embedding(const W& table, const I& indices) {
  return embedding(DeviceRef(), table, indices);
}

/// Adds row ... of d_out (..., C) to row indices[...] of d_table (V, C), those of one index in their order: the same
/// bits for any device. Nothing if d_table has no data. Time O(indices * C + V).
template <Device D, TensorLike I, TensorLike G, TensorLike DW>
void embedding_backward(const D& device, const I& indices, const G& d_out, DW&& d_table) {
  const auto at = const_view(indices);
  const auto incoming = const_view(d_out);
  const auto sum = view(d_table);
  if (!sum.data) return;
  require_shape("embedding_backward", "d_out", incoming.sizes, detail::embedding_sizes(at, sum));
  const kernel::Rows which(at, 0);
  detail::check_indices("embedding_backward", which, sum.size(0));
  kernel::scatter_add_rows<Compute<ScalarOf<DW>>>(device, kernel::Rows(incoming), which, sum);
}

/// A heed::Tape.
template <class R, class T>
concept RecordsParameters = requires(R& tape, const Tensor<T, 2>& parameter) {
  { tape.parameter(parameter) } -> Recorded;
};

/// The layer: weight (V, C), one row for each index.
template <Storage T>
struct Embedding {
  Tensor<T, 2> weight = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
  }

  template <TensorLike I>
  auto operator()(const I& indices) const {
    return embedding(weight, indices);
  }
  template <Device D, TensorLike I>
  auto operator()(const D& device, const I& indices) const {
    return embedding(device, weight, indices);
  }
  /// On a tape: indices are no variables, so that nothing else would tell it.
  template <RecordsParameters<T> R, Device D, TensorLike I>
  auto operator()(R& tape, const D& device, const I& indices) const {
    return embedding(device, tape.parameter(weight), indices);
  }
};

}  // namespace heed::inline HEED_ISA
