// SPDX-License-Identifier: Apache-2.0
// soft_image_guidance: the logits of a run with the image and of one with a soft prompt in its place, combined.
#pragma once

#include <cmath>

#include "heed/block/maximum.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/threshold.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// first a + second b.
struct WeightedPair {
  static constexpr std::string_view kName = "soft_image_guidance";
  double first = 1, second = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> a, simd::Batch<T> b) const {
    return simd::fma(simd::Batch<T>(T(first)), a, simd::Batch<T>(T(second)) * b);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T>) const {
    return d * simd::Batch<T>(T(Operand == 0 ? first : second));
  }
};

}  // namespace detail

enum class SoftGuidance {
  kGuidance,     ///< out = soft + guidance_scale (image - soft), all kept
  kContrastive,  ///< out = (1 + alpha) image - alpha soft; kept where image_v >= ln beta + max image
};

/// Logits of two runs combined, and which of them a sampler may take.
///
///   heed::SoftImageGuidance guide{{.guidance_scale = 1.5}};
///   auto [logits, keep] = guide(logits_image, logits_soft);
///
/// logits_image, logits_soft and out (B, V), keep (B, V) uint8. A logit that is not kept is combined all the same; a
/// sampler must treat it as minus infinity. The largest is always kept. Throws heed::Error for shapes and options that
/// do not fit. Time O(B V). Source: LACING 2024 (Looking Beyond Text), a transcription of the authors' decoding loop.
struct SoftImageGuidance {
  struct Options {
    SoftGuidance mode = SoftGuidance::kGuidance;
    double guidance_scale = 1.5;  ///< 1 turns it off
    double alpha = 0.5;
    double beta = 0.1;  ///< in (0, 1]
  };
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::uint8_t, 2> keep;
  };

  Options options = {};

  template <Operand X, Operand Y>
  auto operator()(const X& logits_image, const Y& logits_soft) const {
    return (*this)(DeviceRef(), logits_image, logits_soft);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& logits_image, const Y& logits_soft) const {
    static_assert(kOperandRank<X> == 2 && kOperandRank<Y> == 2, "heed::SoftImageGuidance: logits are (B, V)");
    constexpr std::string_view where = "soft_image_guidance";
    const auto sizes = sizes_of(logits_image);
    require_shape(where, "logits_soft", sizes_of(logits_soft), sizes);
    require(options.beta > 0 && options.beta <= 1, where, "beta must be in (0, 1], got ", options.beta);
    const bool guided = options.mode == SoftGuidance::kGuidance;
    const detail::WeightedPair pair{guided ? options.guidance_scale : 1 + options.alpha,
                                    guided ? 1 - options.guidance_scale : -options.alpha};
    const auto keep_all = [&] {
      Tensor<std::uint8_t, 2> all(sizes);
      all.setConstant(1);
      return all;
    };
    const auto keep_near_largest = [&] {
      const auto largest = max(device, values_of(logits_image), {1});
      return threshold_mask(logits_image, view(largest).select(1, 0), std::log(options.beta));
    };
    auto keep = guided || sizes[1] == 0 ? keep_all() : keep_near_largest();
    auto out = pointwise(pair, device, logits_image, logits_soft);
    return Result<decltype(out)>{std::move(out), std::move(keep)};
  }
};

}  // namespace heed::inline HEED_ISA
