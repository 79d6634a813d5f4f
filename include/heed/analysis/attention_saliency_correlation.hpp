// SPDX-License-Identifier: Apache-2.0
// attention_saliency_correlation: how well attention agrees with saliency.
#pragma once

#include "heed/block/maximum.hpp"
#include "heed/block/row_statistics.hpp"

namespace heed::inline HEED_ISA {

/// Saliency is reduced over channels, its frames pooled to the T' cells of the attention map, the rows of both brought
/// to one scale, and the two correlated (Pearson).
///
/// cross_attn (I, T'); saliency (I, T, F), per output token over frames and channels; saliency_down (I, T'), after its
/// rows were scaled; correlation, 0 for a constant map. Cell i covers frames floor(i T / T') to ceil((i + 1) T / T')
/// - 1. No gradient: it measures. Throws heed::Error for shapes that do not fit. Source: Papi et al. 2025, a
/// transcription: which reductions and scale the paper uses could not be confirmed, hence the options.
struct AttentionSaliencyCorrelation {
  enum class Reduce { kMax, kMean };
  struct Options {
    Reduce frequency_reduce = Reduce::kMax;
    Reduce time_reduce = Reduce::kMax;
    RowScale row_normalize = RowScale::kZscore;
  };
  struct Result {
    Tensor<double, 2> saliency_down;
    double correlation;
  };

  Options options = {};

  template <TensorLike A, TensorLike S>
  Result operator()(const A& cross_attn, const S& saliency) const {
    return (*this)(DeviceRef(), cross_attn, saliency);
  }
  template <Device D, TensorLike A, TensorLike S>
  Result operator()(const D& device, const A& cross_attn, const S& saliency) const {
    static_assert(kRankOf<A> == 2 && kRankOf<S> == 3, "heed::AttentionSaliencyCorrelation: saliency is (I, T, F)");
    constexpr std::string_view name = "attention_saliency_correlation";
    const auto attention = const_view(cross_attn);
    require(const_view(saliency).size(0) == attention.size(0), name,
            "saliency must have shape (I, T, F) with I = ", attention.size(0), ", got ",
            shape_text(const_view(saliency).sizes));
    const auto of_frames =
        options.frequency_reduce == Reduce::kMax ? max(device, saliency, {2}) : mean(device, saliency, {2});
    const auto cells =
        pool_columns(const_view(of_frames).select(2, 0), attention.size(1), options.time_reduce == Reduce::kMax);
    Result result{scale_rows(cells, options.row_normalize), 0};
    result.correlation = heed::correlation(scale_rows(attention, options.row_normalize), result.saliency_down);
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
