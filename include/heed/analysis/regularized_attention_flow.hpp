// SPDX-License-Identifier: Apache-2.0
// regularized_attention_flow: rollout for causal models, where early tokens are seen most.
#pragma once

#include "heed/analysis/attention_rollout.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/maximum.hpp"

namespace heed::inline HEED_ISA {

/// head_weights(l, h) = mean over i of max over j of x(l, h, i, j); S_l = mean over h of head_weights x(l, h); F = (I +
/// S_l)(I + F) from F = 0 on, with the columns of S_l (kMaps) or of F after each step (kFlow) times c_j = (j + 1) / N,
/// the share of rows that cannot see column j first. image_map = the mean of the object rows of F at the image columns.
///
/// x (L, H, N, N), causal attention weights; object_mask and image_mask (N) of std::uint8_t; head_weights (L, H), out
/// (N, N) = F, image_map (number of image tokens), 0 where there is no object. Without head_weighting S_l is the plain
/// mean. The caller reshapes image_map to the grid of patches, thresholds it, and takes the maximum of the largest
/// component as the positive and the overall minimum as the negative point prompt. Throws heed::Error for shapes that
/// do not fit. Time O(L N^3). Source: Lin et al. 2024 (VL-SAM), a transcription; where the factor goes (kMaps) and its
/// denominator N are our reading.
struct RegularizedAttentionFlow {
  enum class Regularize { kMaps, kFlow, kNone };
  struct Options {
    bool head_weighting = true;
    Regularize regularize = Regularize::kMaps;
  };
  template <class W, class F, class M>
  struct Result {
    W head_weights;
    F out;
    M image_map;
  };

  Options options = {};

  template <Operand X, TensorLike O, TensorLike I>
  auto operator()(const X& x, const O& object_mask, const I& image_mask) const {
    return (*this)(DeviceRef(), x, object_mask, image_mask);
  }
  template <Device D, Operand X, TensorLike O, TensorLike I>
  auto operator()(const D& device, const X& x, const O& object_mask, const I& image_mask) const {
    static_assert(kOperandRank<X> == 4, "heed::RegularizedAttentionFlow: x is (L, H, N, N)");
    constexpr std::string_view name = "regularized_attention_flow";
    const auto sizes = sizes_of(x);
    const Index layers = sizes[0], n = sizes[2];
    require(layers > 0 && sizes[1] > 0 && n > 0 && sizes[3] == n, name,
            "x must have shape (L, H, N, N) and not be empty, got ", shape_text(sizes));
    const std::array<Index, 1> tokens{n};
    require_shape(name, "object_mask", const_view(object_mask).sizes, tokens);
    require_shape(name, "image_mask", const_view(image_mask).sizes, tokens);

    const auto strongest = mean(device, max(device, x, {3}), {2});  // (L, H, 1, 1)
    auto head_weights = copy_as<2>(device, strongest, {layers, sizes[1]});
    auto maps = options.head_weighting ? mean(device, multiply(device, x, strongest), {1}) : mean(device, x, {1});
    Tensor<OperandScalar<X>, 2> share(1, n);
    for (Index j = 0; j < n; ++j) share(0, j) = OperandScalar<X>(double(j + 1) / double(n));
    const auto factor = constant_with(std::move(share), x);
    if (options.regularize == Regularize::kMaps) maps = multiply(device, maps, factor);
    const auto identity = detail::identity_with(n, x);
    const auto layer = [&](Index l) { return add(device, view(maps).select(0, l), identity); };  // (1, N, N)
    auto flow = layer(0);
    if (options.regularize == Regularize::kFlow) flow = multiply(device, flow, factor);
    for (Index l = 1; l < layers; ++l) {
      flow = matmul(device, layer(l), add(device, flow, identity));
      if (options.regularize == Regularize::kFlow) flow = multiply(device, flow, factor);
    }
    auto out = copy_as<2>(device, flow, {n, n});

    const auto objects = places(const_view(object_mask)), image = places(const_view(image_mask));
    const auto rows = gather(device, out, objects);
    const auto of_objects = sum(device, rows, {0}, 1 / std::max(1.0, double(objects.size())));  // (1, N)
    const auto at_image = gather(device, view(of_objects).permute({1, 0}), image);
    auto image_map = copy_as<1>(device, at_image, {Index(image.size())});
    return Result<decltype(head_weights), decltype(out), decltype(image_map)>{std::move(head_weights), std::move(out),
                                                                              std::move(image_map)};
  }

 private:
  static Tensor<std::int32_t, 1> places(const View<const std::uint8_t, 1>& mask) {
    std::vector<std::int32_t> found;
    for (Index i = 0; i < mask.size(0); ++i)
      if (mask(i) != 0) found.push_back(std::int32_t(i));
    Tensor<std::int32_t, 1> result(Index(found.size()));
    std::copy(found.begin(), found.end(), result.data());
    return result;
  }
};

}  // namespace heed::inline HEED_ISA
