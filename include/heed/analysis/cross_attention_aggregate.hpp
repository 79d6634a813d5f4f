// SPDX-License-Identifier: Apache-2.0
// cross_attention_aggregate: one map of many.
#pragma once

#include <optional>

#include "heed/block/copy_as.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// Inputs that a call may have: views, whose tensors must outlive the call, and of a recorded one the recording.
struct CrossAttentionAggregateInputs {
  std::optional<View<const std::uint8_t, 1>> layer_mask = std::nullopt;  ///< (L)
  std::optional<View<const std::uint8_t, 1>> head_mask = std::nullopt;   ///< (H)
};

/// out = the mean of the attention maps of the chosen layers and heads.
///
/// x (L, H, I, T), attention weights; layer_mask (L) and head_mask (H) of std::uint8_t, all where they are left out;
/// out (I, T). The best proxy of saliency is the mean over all heads and layers, or the later layers. Throws
/// heed::Error for shapes that do not fit and where nothing is chosen. Source: Papi et al. 2025, a transcription.
struct CrossAttentionAggregate {
  using Inputs = CrossAttentionAggregateInputs;

  template <Operand X>
  auto operator()(const X& x, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), x, inputs);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<X> == 4, "heed::CrossAttentionAggregate: x is (L, H, I, T)");
    using T = OperandScalar<X>;
    constexpr std::string_view name = "cross_attention_aggregate";
    const auto sizes = sizes_of(x);
    if (inputs.layer_mask) require_shape(name, "layer_mask", inputs.layer_mask->sizes, std::array<Index, 1>{sizes[0]});
    if (inputs.head_mask) require_shape(name, "head_mask", inputs.head_mask->sizes, std::array<Index, 1>{sizes[1]});
    Tensor<T, 4> weight(sizes[0], sizes[1], 1, 1);
    Index count = 0;
    for (Index l = 0; l < sizes[0]; ++l)
      for (Index h = 0; h < sizes[1]; ++h) {
        const bool chosen =
            (!inputs.layer_mask || (*inputs.layer_mask)(l) != 0) && (!inputs.head_mask || (*inputs.head_mask)(h) != 0);
        weight(l, h, 0, 0) = T(chosen);
        count += chosen;
      }
    require(count > 0, name, "no layer and head is chosen of ", shape_text(sizes));
    for (Index i = 0; i < weight.size(); ++i) weight.data()[i] /= T(count);
    const auto weights = constant_with(std::move(weight), x);
    return copy_as<2>(device, pointwise_sum(ProductOf(), device, {0, 1}, x, weights), {sizes[2], sizes[3]});
  }
};

}  // namespace heed::inline HEED_ISA
