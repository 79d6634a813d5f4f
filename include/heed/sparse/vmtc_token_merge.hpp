// SPDX-License-Identifier: Apache-2.0
// vmtc_token_merge: important visual tokens are kept, the others merged by clusters.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/segment_mean.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

/// out = the num_keep tokens of largest importance, in their order, and behind them the mean of each cluster that
/// cosine_clusters makes of the others, in the order of the clusters, without empty ones.
///
/// tokens (N, C), importance (N), e.g. the attention that they get from the class token; out (kept + clusters, C);
/// assignment (N) int32, the cluster, -1 for what is kept. num_keep and num_clusters are clamped to what there is. The
/// choice has no gradient. Throws heed::Error for shapes and options that do not fit. Time O(iterations N num_clusters
/// C). Source: Yang et al. 2024 (VMTC), from its description, a transcription: initialisation and number of iterations
/// are ours.
struct VmtcTokenMerge {
  struct Options {
    Index num_keep = 0;
    Index num_clusters = 1;
    Index iterations = 5;
  };
  template <class X>
  struct Result {
    X out;
    Tensor<std::int32_t, 1> assignment;
  };

  Options options = {};

  template <Operand X, Operand I>
  auto operator()(const X& tokens, const I& importance) const {
    return (*this)(DeviceRef(), tokens, importance);
  }
  template <Device D, Operand X, Operand I>
  auto operator()(const D& device, const X& tokens, const I& importance) const {
    static_assert(kOperandRank<X> == 2 && kOperandRank<I> == 1, "heed::VmtcTokenMerge: tokens are (N, C)");
    constexpr std::string_view name = "vmtc_token_merge";
    const Index count = sizes_of(tokens)[0];
    require(sizes_of(importance)[0] == count, name, "importance must have shape (N) = (", count, "), got ",
            shape_text(sizes_of(importance)));
    require(options.num_keep >= 0 && options.num_clusters >= 1 && options.iterations >= 0, name,
            "num_keep and iterations must be 0 or more and num_clusters 1 or more");
    const auto kept = top_k(device, importance, std::min(options.num_keep, count), TopKOrder::kIndex).indices;
    Tensor<std::int32_t, 1> assignment(count);
    assignment.setZero();
    for (Index i = 0; i < kept.size(); ++i)
      if (kept(i) >= 0) assignment(kept(i)) = -1;
    const auto rest = where_not_negative(assignment);
    const auto others = gather(device, values_of(tokens), rest);
    const auto cluster = cosine_clusters(others, options.num_clusters, options.iterations);
    for (Index i = 0; i < rest.size(); ++i) assignment(rest(i)) = cluster(i);
    const auto [segment, segments] = without_empty(assignment);
    auto out = concat<0>(device, gather(device, tokens, kept), segment_mean(tokens, segment, segments));
    return Result<decltype(out)>{std::move(out), std::move(assignment)};
  }

 private:
  static Tensor<std::int32_t, 1> where_not_negative(const Tensor<std::int32_t, 1>& x) {
    std::vector<std::int32_t> places;
    for (Index i = 0; i < x.size(); ++i)
      if (x(i) >= 0) places.push_back(std::int32_t(i));
    Tensor<std::int32_t, 1> result(Index(places.size()));
    std::copy(places.begin(), places.end(), result.data());
    return result;
  }
  // The clusters numbered anew, and how many there are.
  static std::pair<Tensor<std::int32_t, 1>, Index> without_empty(Tensor<std::int32_t, 1> cluster) {
    std::vector<std::int32_t> number(static_cast<std::size_t>(cluster.size()), -1);
    for (Index i = 0; i < cluster.size(); ++i)
      if (cluster(i) >= 0) number[std::size_t(cluster(i))] = 0;
    std::int32_t next = 0;
    for (auto& n : number)
      if (n == 0) n = next++;
    for (Index i = 0; i < cluster.size(); ++i)
      if (cluster(i) >= 0) cluster(i) = number[std::size_t(cluster(i))];
    return {std::move(cluster), Index(next)};
  }
};

}  // namespace heed::inline HEED_ISA
