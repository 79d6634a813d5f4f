// SPDX-License-Identifier: Apache-2.0
// Visibility from memory: a dense boolean mask, a mask of keys.
#pragma once

#include <cstring>
#include <optional>

#include "heed/attention/mask/rule.hpp"
#include "heed/kernel/transpose.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Keys that are looked at together: a change within them makes all of them partly visible, since shorter runs cost the
/// kernel more than they save it.
inline constexpr Index kMaskGranule = 16;
/// Keys after which a run ends even if nothing changes: longer ones would be scanned again for every tile of keys.
inline constexpr Index kMaskRun = 64;

// Whether `count` bytes, `stride` apart, are all zero, or all not zero.
inline bool bytes_are(const std::uint8_t* bytes, Index stride, Index count, bool set) {
  Index i = 0;
  if (stride == 1) {
    for (; i + 8 <= count; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes + i, 8);
      constexpr std::uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
      // The second term has a high bit exactly where a byte is zero, up to the first such byte.
      if (set ? ((word - ones) & ~word & highs) != 0 : word != 0) return false;
    }
  }
  for (; i < count; ++i)
    if ((bytes[i * stride] != 0) != set) return false;
  return true;
}

template <class X>
auto bytes_of(X&& x) {
  const auto v = kept_view(std::forward<X>(x));
  using U = ScalarOf<X>;
  static_assert(std::same_as<U, std::uint8_t> || std::same_as<U, bool>,
                "heed: a boolean mask holds std::uint8_t or bool, 1 where the key is visible");
  return View<const std::uint8_t, kRankOf<X>>(reinterpret_cast<const std::uint8_t*>(v.data), v.sizes, v.strides);
}

}  // namespace detail

/// A mask (B, H, N, M), every axis full or 1. Each tile that needs it is transposed into a plane first, as BiasModifier
/// does.
struct BooleanMask : VisibilityRuleBase {
  View<const std::uint8_t, 4> mask;
  static constexpr int kPlanes = 1;

  void check(const AttentionShape& shape) const {
    mask.broadcast({shape.batch, shape.heads, shape.queries, shape.keys}, "boolean_mask", "the mask");
  }
  Index step(int axis) const { return mask.size(axis) == 1 ? 0 : mask.stride(axis); }
  const std::uint8_t* at(Index b, Index h, Index i, Index j) const {
    return mask.data + b * step(0) + h * step(1) + i * step(2) + j * step(3);
  }

  template <Real T>
  void fill(const PairTile& tile, T* plane, Index) const {
    kernel::rows_to_panel<T>(at(tile.batch, tile.head, tile.first_query, tile.first_key), step(2), step(3),
                             tile.queries, tile.keys, T(1), plane);
  }
  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& a) const {
    const simd::Batch<T> zero(T(0));
    if constexpr (L == Lanes::kQueries) {
      return simd::load_aligned(a.plane) != zero;
    } else {
      return simd::load_strided<T>(at(a.batch, a.head, a.first_query, a.first_key), step(3), a.count) != zero;
    }
  }

  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    const std::uint8_t* bytes = at(tile.batch, tile.head, tile.first, key);
    const bool set = *bytes != 0;
    const Index queries = step(2) == 0 ? 1 : tile.last - tile.first;
    if (step(3) == 0) {
      const bool same = detail::bytes_are(bytes, step(2), queries, set);
      return {!same ? Seen::kSome : set ? Seen::kAll : Seen::kNone, kEndless};
    }
    const auto same = [&](Index from, Index to) {
      for (Index i = 0; i < queries; ++i)
        if (!detail::bytes_are(bytes + i * step(2) + (from - key) * step(3), step(3), to - from, set)) return false;
      return true;
    };
    const Index limit = std::min(tile.keys, (key / detail::kMaskRun + 1) * detail::kMaskRun);
    Index end = key;
    while (end < limit) {
      const Index next = std::min(limit, (end / detail::kMaskGranule + 1) * detail::kMaskGranule);
      if (!same(end, next)) break;
      end = next;
    }
    if (end == key) return {Seen::kSome, limit};
    return {set ? Seen::kAll : Seen::kNone, end};
  }
};
/// Key j is visible to query i where the mask is not 0. `mask`: std::uint8_t or bool, rank 2 (N, M), 3 (H, N, M) or 4
/// (B, H, N, M), any axis 1 to broadcast, any strides; read when the attention runs. Where granules of 16 keys are
/// wholly visible or wholly hidden for a tile of queries, the kernel reads the mask once and neither tests nor computes
/// what it hides: N * M bytes are read at most about twice.
///
/// No gradient: visibility is piecewise constant.
template <TensorLike X>
BooleanMask boolean_mask(X&& mask) {
  return {{}, detail::bytes_of(std::forward<X>(mask)).template promote<4>()};
}

/// A mask (B, M), the same for all queries and heads.
struct KeyMask : VisibilityRuleBase {
  View<const std::uint8_t, 2> mask;

  void check(const AttentionShape& shape) const { mask.broadcast({shape.batch, shape.keys}, "key_mask", "the mask"); }
  Index step(int axis) const { return mask.size(axis) == 1 ? 0 : mask.stride(axis); }
  const std::uint8_t* at(Index b, Index j) const { return mask.data + b * step(0) + j * step(1); }

  template <Real T, Lanes L>
  HEED_INLINE simd::Mask<T> operator()(const At<T, L>& a) const {
    const std::uint8_t* bytes = at(a.batch, a.first_key);
    if constexpr (L == Lanes::kQueries) {
      return simd::Mask<T>(*bytes != 0);
    } else {
      return simd::load_strided<T>(bytes, step(1), a.count) != simd::Batch<T>(T(0));
    }
  }

  Run run(const QueryTile& tile, Index key) const {
    if (key >= tile.keys) return {Seen::kNone, kEndless};
    const bool set = *at(tile.batch, key) != 0;
    if (step(1) == 0) return {set ? Seen::kAll : Seen::kNone, kEndless};
    const auto same = [&](Index j) { return (*at(tile.batch, j) != 0) == set; };
    // What is hidden is scanned to its end, since that is skipped in one go; what is seen comes back tile by tile.
    const Index limit = set ? std::min(tile.keys, key + detail::kMaskRun) : tile.keys;
    Index begin = key, end = key + 1;
    while (end < limit && same(end)) ++end;
    while (begin > 0 && end - begin < detail::kMaskGranule && same(begin - 1)) --begin;
    if (end - begin >= detail::kMaskGranule || end == tile.keys) return {set ? Seen::kAll : Seen::kNone, end};
    return {Seen::kSome, std::min(tile.keys, key + detail::kMaskGranule)};
  }
};
/// Key j of batch b is visible where mask(b, j) is not 0, as in a padding mask. `mask`: std::uint8_t or bool, (B, M),
/// any axis 1 to broadcast; read when the attention runs. Runs of 16 and more hidden keys are skipped.
template <TensorLike X>
KeyMask key_mask(X&& mask) {
  return {{}, detail::bytes_of(std::forward<X>(mask)).template promote<2>()};
}

/// key_mask of a mask (B, M) that a call may have; every key is visible without one. The mask is read when the
/// attention runs.
inline auto optional_key_mask(const std::optional<View<const std::uint8_t, 2>>& mask) {
  return when(mask.has_value(), key_mask(mask.value_or(View<const std::uint8_t, 2>())));
}

}  // namespace heed::inline HEED_ISA
