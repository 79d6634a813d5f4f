// SPDX-License-Identifier: Apache-2.0
// Which keys a query reads, one by one: by the largest scores, or by the largest biases.
#pragma once

#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/kernel/gemm.hpp"
#include "heed/kernel/largest.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Keys that query i sees: all, or those up to its position, the last query on the last key.
inline Index visible_keys(Index i, Index queries, Index keys, bool causal) {
  return causal ? std::clamp<Index>(i + keys - queries + 1, 0, keys) : keys;
}

/// The list of the largest of a row, ascending, -1 behind it; returns how many there are.
template <Real T>
Index largest_list(const T* row, Index width, Index size, kernel::Ranked<T>* spare, std::int32_t* list) {
  const Index count = kernel::largest_indices<T>(row, width, size, list, spare);
  std::fill(list + count, list + size, -1);
  return count;
}

}  // namespace detail

/// The `size` keys of largest scale q.k of each query, ascending, -1 behind them where fewer are visible: q (B, H, N,
/// D), k (B, Hk, M, D), result (B, H, N, min(size, M)). Ties go to the lower key. Scores are made for a band of queries
/// at a time and never kept. Time O(B H N M D).
///
/// No gradient: the choice has none.
template <Device D, Real T>
Tensor<std::int32_t, 4> largest_scores(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                                       Index size, double scale, bool causal) {
  constexpr Index kBand = 64;
  const Index heads = q.size(1), queries = q.size(2), keys = k.size(2), width = q.size(3);
  const Index count = std::min(size, keys), bands = (queries + kBand - 1) / kBand;
  Tensor<std::int32_t, 4> lists(q.size(0), heads, queries, count);
  if (lists.size() == 0) return lists;
  parallel_for(device, q.size(0) * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, first = unit % bands * kBand;
    const Index rows = std::min(kBand, queries - first);
    const Index seen = detail::visible_keys(first + rows - 1, queries, keys, causal);
    ScratchFrame frame;
    auto* const spare = frame.take<kernel::Ranked<T>>(kernel::kLargestSpare);
    T* const scaled = frame.take<T>(rows * width);
    for (Index i = 0; i < rows; ++i)
      for (Index d = 0; d < width; ++d) scaled[i * width + d] = T(scale) * q(b, h, first + i, d);
    const View<T, 2> scores(frame.take<T>(rows * std::max<Index>(1, seen)), {rows, seen});
    if (seen > 0)
      kernel::gemm(Eigen::DefaultDevice(), View<const T, 2>(scaled, {rows, width}),
                   k.select(0, b).select(0, h * k.size(1) / heads).slice(0, 0, seen), View<const T, 1>(), scores);
    for (Index i = 0; i < rows; ++i) {
      const Index own = detail::visible_keys(first + i, queries, keys, causal);
      detail::largest_list(scores.data + i * seen, own, count, spare,
                           lists.data() + ((b * heads + h) * queries + first + i) * count);
    }
  });
  return lists;
}

/// How a bias decides which keys are kept.
enum class BiasMask {
  kTopK,  ///< the largest biases of a query
  kRelu   ///< the positive ones
};

/// The keys that a bias keeps for each of N queries, ascending, -1 behind them: bias (B, Hk, N or 1, M), result (B, Hk,
/// N, K), K the most that a query keeps. kTopK keeps the `size` largest visible ones, ties to the lower key. With blocks
/// of s > 1 keys, a block is then kept as a whole where more than half of it was, else dropped, and what is not visible
/// dropped again. Time O(B Hk N M).
///
/// No gradient: the choice has none.
template <Device D, Real T>
Tensor<std::int32_t, 4> keys_by_bias(const D& device, const View<const T, 4>& bias, Index queries, BiasMask mask,
                                     Index size, Index block, bool causal) {
  const Index batch = bias.size(0), heads = bias.size(1), keys = bias.size(3), most = std::min(size, keys);
  const bool lists_at_once = mask == BiasMask::kTopK && block <= 1;
  constexpr Index kBand = 64;
  const Index bands = (queries + kBand - 1) / kBand;
  std::vector<std::vector<std::int32_t>> found(lists_at_once ? 0 : std::size_t(batch * heads * queries));
  Tensor<std::int32_t, 4> lists;
  if (lists_at_once) lists.resize(batch, heads, queries, most);
  parallel_for(device, batch * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, first = unit % bands * kBand;
    ScratchFrame frame;
    auto* const spare = frame.take<kernel::Ranked<T>>(kernel::kLargestSpare);
    auto* const largest = frame.take<std::int32_t>(most);
    T* const copy = frame.take<T>(keys);
    auto* const keep = frame.take<std::uint8_t>(keys);
    for (Index i = first; i < std::min(queries, first + kBand); ++i) {
      const Index seen = detail::visible_keys(i, queries, keys, causal);
      const T* const row =
          kernel::packed<T>(bias.at(b, h, bias.size(2) == 1 ? 0 : i), bias.stride(3), keys, copy);
      if (lists_at_once) {
        detail::largest_list(row, seen, most, spare, lists.data() + ((b * heads + h) * queries + i) * most);
        continue;
      }
      const Index count = mask == BiasMask::kTopK ? detail::largest_list(row, seen, most, spare, largest) : 0;
      std::fill_n(keep, keys, std::uint8_t(0));
      for (Index s = 0; s < count; ++s) keep[largest[s]] = 1;
      if (mask == BiasMask::kRelu)
        for (Index j = 0; j < seen; ++j) keep[j] = row[j] > T(0);
      for (Index begin = 0; block > 1 && begin < keys; begin += block) {
        const Index length = std::min(block, keys - begin);
        Index kept = 0;
        for (Index j = begin; j < begin + length; ++j) kept += keep[j];
        std::fill_n(keep + begin, length, std::uint8_t(2 * kept > length));
      }
      auto& list = found[std::size_t((b * heads + h) * queries + i)];
      for (Index j = 0; j < seen; ++j)
        if (keep[j] != 0) list.push_back(std::int32_t(j));
    }
  });
  if (lists_at_once) return lists;
  std::size_t longest = 0;
  for (const auto& list : found) longest = std::max(longest, list.size());
  lists.resize(batch, heads, queries, Index(longest));
  lists.setConstant(-1);
  for (std::size_t row = 0; row < found.size(); ++row)
    std::copy(found[row].begin(), found[row].end(), lists.data() + row * longest);
  return lists;
}

}  // namespace heed::inline HEED_ISA
