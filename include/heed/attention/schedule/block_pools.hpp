// SPDX-License-Identifier: Apache-2.0
// Blocks of keys chosen out of pools: of one query, one head, one block, or all of them together.
#pragma once

#include <algorithm>
#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/tensor.hpp"
#include "heed/kernel/largest.hpp"
#include "heed/kernel/select_mass.hpp"

namespace heed::inline HEED_ISA {

enum class BlockSelect { kTopK, kThreshold };
/// What is compared with each other: the blocks of one query and head, all (block, query) of one head, all of a sample,
/// or all (head, query) of one block.
enum class BlockScope { kQueryHead, kHeadGlobal, kOverall, kBlock };

struct BlockPools {
  BlockSelect select = BlockSelect::kThreshold;
  BlockScope scope = BlockScope::kQueryHead;
  Index top_k = 3;
  double threshold = 0.25;
};

namespace detail {

/// The pools of one sample, scores (H, N, blocks).
template <Real T>
class PoolChooser {
 public:
  PoolChooser(const View<const T, 3>& scores, const View<const std::int32_t, 1>& place, Index size,
              const BlockPools& pools, const View<std::uint8_t, 3>& mask)
      : scores_(scores), place_(place), size_(size), pools_(pools), mask_(mask) {
    order_.resize(std::size_t(place.size(0)));
    for (Index i = 0; i < place.size(0); ++i) order_[std::size_t(place(i))] = i;
  }

  /// Pool `pool` of the scope: heads [h, h_end), places [x, x_end), blocks [c, c_end).
  void choose(Index pool) {
    const Index heads = scores_.size(0), tokens = scores_.size(1), blocks = scores_.size(2);
    switch (pools_.scope) {
      case BlockScope::kQueryHead:
        if (pools_.select == BlockSelect::kTopK) return choose_of_row(pool / tokens, pool % tokens);
        return choose(pool / tokens, 1, pool % tokens, 1, 0, blocks, std::min(pools_.top_k, blocks));
      case BlockScope::kHeadGlobal:
        return choose(pool, 1, 0, tokens, 0, blocks, std::min(pools_.top_k, blocks) * tokens);
      case BlockScope::kOverall:
        return choose(0, heads, 0, tokens, 0, blocks, std::min(pools_.top_k, blocks) * tokens * heads);
      case BlockScope::kBlock:
        return choose(0, heads, 0, tokens, pool, 1, 0);
    }
  }

  static Index count(BlockScope scope, Index heads, Index tokens, Index blocks) {
    return scope == BlockScope::kQueryHead    ? heads * tokens
           : scope == BlockScope::kHeadGlobal ? heads
           : scope == BlockScope::kBlock      ? blocks
                                              : 1;
  }

 private:
  // The best of the blocks beside the own one, which every query reads, of one query.
  void choose_of_row(Index head, Index place) {
    const Index blocks = scores_.size(2), query = order_[std::size_t(place)];
    row_.resize(std::size_t(blocks));
    list_.resize(std::size_t(blocks));
    spare_.resize(std::size_t(kernel::kLargestSpare));
    for (Index c = 0; c < blocks; ++c) row_[std::size_t(c)] = scores_(head, query, c);
    row_[std::size_t(place / size_)] = -std::numeric_limits<T>::infinity();
    const Index others = std::min(pools_.top_k, blocks) - 1;
    const Index count = kernel::largest_indices<T>(row_.data(), blocks, others, list_.data(), spare_.data());
    for (Index s = 0; s < count; ++s) mask_(head, query, list_[std::size_t(s)]) = 1;
  }

  void choose(Index head, Index heads, Index first, Index places, Index block, Index blocks, Index most) {
    const Index total = heads * places * blocks;
    entries_.resize(std::size_t(total));
    T low = std::numeric_limits<T>::infinity(), high = -low;
    Index at = 0, own = 0;
    double own_sum = 0, sum = 0;
    for (Index c = block; c < block + blocks; ++c)
      for (Index h = head; h < head + heads; ++h)
        for (Index x = first; x < first + places; ++x) {
          const T s = scores_(h, order_[std::size_t(x)], c);
          low = std::min(low, s);
          high = std::max(high, s);
          entries_[std::size_t(at)] = {s, std::int32_t(at)};
          ++at;
        }
    const auto place_of = [&](Index entry, auto&& f) {
      const Index x = first + entry % places, h = head + entry / places % heads, c = block + entry / places / heads;
      return f(h, x, c);
    };
    const auto is_own = [&](Index entry) {
      return place_of(entry, [&](Index, Index x, Index c) { return x / size_ == c; });
    };
    const auto take = [&](Index entry) {
      place_of(entry, [&](Index h, Index x, Index c) {
        mask_(h, order_[std::size_t(x)], c) = 1;
        return 0;
      });
    };
    Index chosen = 0;
    if (pools_.select == BlockSelect::kTopK) {
      // The own blocks come first: they are moved in front of all.
      for (Index e = 0; e < total; ++e)
        if (is_own(e)) std::swap(entries_[std::size_t(own++)], entries_[std::size_t(e)]);
      chosen = std::min(std::max(most, own), total);
      if (chosen > own && chosen < total)
        std::nth_element(entries_.begin() + own, entries_.begin() + chosen, entries_.end(), kernel::ranks_before<T>);
    } else {
      const T range = high - low > T(1e-6) ? high - low : T(1);
      for (Index e = 0; e < total; ++e) {
        auto& entry = entries_[std::size_t(e)];
        entry.value = (entry.value - low) / range;
        sum += double(entry.value);
        if (!is_own(e)) continue;
        own_sum += double(entry.value);
        entry.value = 0;
      }
      const double mass = sum + 1e-6, need = std::max(0.0, pools_.threshold - own_sum / mass);
      chosen = kernel::select_mass(entries_.data(), total, need * mass);
    }
    for (Index e = 0; e < chosen; ++e) take(entries_[std::size_t(e)].index);
  }

  View<const T, 3> scores_;
  View<const std::int32_t, 1> place_;
  Index size_;
  BlockPools pools_;
  View<std::uint8_t, 3> mask_;
  std::vector<Index> order_;  // the query at each place
  std::vector<kernel::Ranked<T>> entries_, spare_;
  std::vector<T> row_;
  std::vector<std::int32_t> list_;
};

}  // namespace detail

/// A mask (B, H, N, blocks) of the blocks that each query reads: those that its pools choose, and always its own, which
/// is floor(place(i) / size) of query i. scores (B, H, N, blocks), place (N) a permutation. Ties go to the lower
/// (block, head, place). What the pools take is said in VmobaAttention. Time O(scores) in the mean.
///
/// No gradient: the choice has none.
template <Device D, Real T>
Tensor<std::uint8_t, 4> choose_from_pools(const D& device, const View<const T, 4>& scores,
                                          const View<const std::int32_t, 1>& place, Index size,
                                          const BlockPools& pools) {
  const Index heads = scores.size(1), tokens = scores.size(2), blocks = scores.size(3);
  Tensor<std::uint8_t, 4> mask(scores.size(0), heads, tokens, blocks);
  mask.setZero();
  using Chooser = detail::PoolChooser<T>;
  const Index count = Chooser::count(pools.scope, heads, tokens, blocks), band = std::max<Index>(1, 16384 / blocks);
  const Index bands = (count + band - 1) / band;
  if (mask.size() == 0) return mask;
  parallel_for(device, scores.size(0) * bands, [&](Index unit) {
    const Index b = unit / bands;
    Chooser chooser(scores.select(0, b), place, size, pools, view(mask).select(0, b));
    for (Index p = unit % bands * band; p < std::min(count, (unit % bands + 1) * band); ++p) chooser.choose(p);
  });
  for (Index row = 0; row < scores.size(0) * heads; ++row)
    for (Index i = 0; i < tokens; ++i) mask.data()[(row * tokens + i) * blocks + place(i) / size] = 1;
  return mask;
}

}  // namespace heed::inline HEED_ISA
