// SPDX-License-Identifier: Apache-2.0
// What every key/value cache does with the tokens that come: the checks of their shapes, and writing them.
#pragma once

#include <limits>

#include "heed/attention/source.hpp"
#include "heed/core/device.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The sizes that new tokens and queries must have to go with a cache.
struct CacheSizes {
  Index batch = 0, kv_heads = 0, width = 0, value_width = 0;
};

/// Checks k_new (B, Hk, N, D) and v_new (B, Hk, N, Dv), and that the lengths stay within int32 (positions are int32).
template <class UK, class UV>
void check_tokens(const CacheSizes& cache, const View<const std::int32_t, 1>& lengths, const View<const UK, 4>& k_new,
                  const View<const UV, 4>& v_new, std::string_view where) {
  const Index n = k_new.size(2);
  const std::array<Index, 4> k_sizes{cache.batch, cache.kv_heads, n, cache.width};
  const std::array<Index, 4> v_sizes{cache.batch, cache.kv_heads, n, cache.value_width};
  require(k_new.sizes == k_sizes, where, "k_new must have shape (B, Hk, N, D) = ", shape_text(k_sizes), ", got ",
          shape_text(k_new.sizes));
  require(v_new.sizes == v_sizes, where, "v_new must have shape (B, Hk, N, Dv) = ", shape_text(v_sizes), ", got ",
          shape_text(v_new.sizes));
  for (Index b = 0; b < cache.batch; ++b)
    require(lengths(b) + n <= std::numeric_limits<std::int32_t>::max(), where, "batch ", b, " has ", lengths(b),
            " tokens, and ", n, " more are beyond what int32 can count");
}

/// Checks the tensors of keys and values and the lengths of a cache against each other; `axes` names the first three.
template <class U>
CacheSizes check_store(const Tensor<U, 4>& k, const Tensor<U, 4>& v, Index batch,
                       const Tensor<std::int32_t, 1>& lengths, std::string_view axes, std::string_view where) {
  for (std::size_t axis = 0; axis < 3; ++axis)
    require(k.dimension(axis) == v.dimension(axis), where, "k and v must agree on (", axes, "), got ",
            shape_text(k.dimensions()), " and ", shape_text(v.dimensions()));
  require(lengths.dimension(0) == batch, where, "lengths must have shape (B) = (", batch, "), got ",
          shape_text(lengths.dimensions()));
  for (Index b = 0; b < batch; ++b) require(lengths(b) >= 0, where, "lengths(", b, ") is negative: ", lengths(b));
  return {batch, k.dimension(1), k.dimension(3), v.dimension(3)};
}

template <class From, class U>
void write_row(const From* from, Index inner, Index width, U* to) {
  for (Index d = 0; d < width; ++d) {
    if constexpr (std::same_as<From, U>) {
      to[d] = from[d * inner];
    } else {
      to[d] = static_cast<U>(simd::widen<heed::Compute<From>>(from[d * inner]));
    }
  }
}

/// Where a position of a sequence is in the tensors of a cache: at (slab, head, row).
struct CacheRow {
  Index slab = 0, row = 0;
};

/// Appends the tokens t of every sequence for which stays(b, t), rounded to the storage type, at place(b, position). No
/// two of them have the same place.
template <class Cache, Device D, class UK, class UV, class Stays, class PlaceOf>
void append_tokens(Cache& cache, const D& device, const View<const UK, 4>& k_new, const View<const UV, 4>& v_new,
                   Stays&& stays, PlaceOf&& place) {
  const Index heads = k_new.size(1), tokens = k_new.size(2);
  parallel_for(device, k_new.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    for (Index t = 0; t < tokens; ++t) {
      if (!stays(b, t)) continue;
      const CacheRow to = place(b, cache.lengths(b) + t);
      write_row(k_new.at(b, h, t), k_new.stride(3), k_new.size(3), &cache.k(to.slab, h, to.row, 0));
      write_row(v_new.at(b, h, t), v_new.stride(3), v_new.size(3), &cache.v(to.slab, h, to.row, 0));
    }
  });
  for (Index b = 0; b < cache.lengths.size(); ++b) cache.lengths(b) += std::int32_t(tokens);
}

/// Rows of another type and any strides as contiguous ones of the storage type.
template <Device D, class From, class U>
void write_tensor(const D& device, const View<const From, 4>& from, const View<U, 4>& to) {
  parallel_for(device, from.size(0) * from.size(1), [&](Index unit) {
    const Index b = unit / from.size(1), h = unit % from.size(1);
    for (Index t = 0; t < from.size(2); ++t) write_row(from.at(b, h, t), from.stride(3), from.size(3), to.at(b, h, t));
  });
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA
