// SPDX-License-Identifier: Apache-2.0
// attencraft_concept_masks: the pixels of each concept, from cross- and self-attention.
#pragma once

#include "heed/block/bicubic.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/unit_range.hpp"

namespace heed::inline HEED_ISA {

/// With mm(x) = (x - min) / (max - min) over a whole array: c_t = mm of the squared bicubic resize of cross(t); A = mm
/// of the fourth power of mm(self); refined(t) = mm(A c_t). masks(t) is the pixels where refined(t) exceeds that of
/// every other token by more than the threshold, and mask_token(c) the token t of the largest sum of refined(t) over
/// masks(c).
///
/// cross (T, rc, rc), cross-attention of T concept tokens, the last for the background, averaged over heads and layers
/// of one resolution (for a concept of several words the largest over its words); self (R^2, R^2), averaged
/// self-attention, a row for a query pixel: its grid is R already, as it is in practice; refined (T, R, R); masks (T,
/// R, R) of std::uint8_t, not more than one 1 for a pixel; mask_token (T) int32, the lowest of equal ones. The authors
/// stop where two masks have the same token. No gradient. Throws heed::Error for shapes that do not fit. Time O(R^6).
/// Source: Shentu et al. 2024 (AttenCraft), junjie-shentu/AttenCraft.
struct AttencraftConceptMasks {
  struct Options {
    Index resolution = 32;  ///< R
    double threshold = 0.1;
  };
  template <class T>
  struct Result {
    Tensor<T, 3> refined;
    Tensor<std::uint8_t, 3> masks;
    Tensor<std::int32_t, 1> mask_token;
  };

  Options options = {};

  template <TensorLike C, TensorLike S>
  auto operator()(const C& cross, const S& self) const {
    return (*this)(DeviceRef(), cross, self);
  }
  template <Device D, TensorLike C, TensorLike S>
  auto operator()(const D& device, const C& cross, const S& self) const {
    using T = ScalarOf<C>;
    static_assert(kRankOf<C> == 3 && kRankOf<S> == 2 && Real<T> && std::same_as<ScalarOf<S>, T>,
                  "heed::AttencraftConceptMasks: cross is (T, rc, rc) and self (R R, R R), both float or both double");
    constexpr std::string_view name = "attencraft_concept_masks";
    const Index r = options.resolution, pixels = r * r, tokens = const_view(cross).size(0);
    require(r > 0 && tokens > 0, name, "resolution and the number of tokens must be 1 or more, got ", r, " and ",
            tokens);
    require_shape(name, "self", const_view(self).sizes, std::array<Index, 2>{pixels, pixels});

    const auto resized = resize_bicubic(device, const_view(cross).template promote<4>(), {r, r});
    const auto squared = multiply(device, resized, resized);
    const auto square = matmul(device, unit_range(self), unit_range(self));
    const auto affinity = unit_range(matmul(device, square, square));
    Tensor<T, 2> concepts(tokens, pixels), refined(tokens, pixels);
    for (Index t = 0; t < tokens; ++t)
      unit_range(const_view(squared).select(0, 0).select(0, t).merge(0), view(concepts).select(0, t));
    const auto spread = matmul(device, concepts, const_view(affinity).permute({1, 0}));
    for (Index t = 0; t < tokens; ++t) unit_range(const_view(spread).select(0, t), view(refined).select(0, t));

    Result<T> result{copy_as<3>(device, refined, {tokens, r, r}), Tensor<std::uint8_t, 3>(tokens, r, r),
                     Tensor<std::int32_t, 1>(tokens)};
    assign(const_view(refined), view(result.masks).template reshape<2>({tokens, pixels}), view(result.mask_token));
    return result;
  }

 private:
  template <class T>
  void assign(const View<const T, 2>& refined, const View<std::uint8_t, 2>& masks,
              const View<std::int32_t, 1>& mask_token) const {
    const Index tokens = refined.size(0), pixels = refined.size(1);
    for (Index t = 0; t < tokens; ++t)
      for (Index x = 0; x < pixels; ++x) {
        bool exceeds = true;
        for (Index u = 0; u < tokens; ++u)
          exceeds = exceeds && (u == t || double(refined(t, x)) - double(refined(u, x)) > options.threshold);
        masks(t, x) = exceeds;
      }
    for (Index c = 0; c < tokens; ++c) {
      double most = -1;
      for (Index t = 0; t < tokens; ++t) {
        double total = 0;
        for (Index x = 0; x < pixels; ++x)
          if (masks(c, x) != 0) total += double(refined(t, x));
        if (total > most) most = total, mask_token(c) = std::int32_t(t);
      }
    }
  }
};

}  // namespace heed::inline HEED_ISA
