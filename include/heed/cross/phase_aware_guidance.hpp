// SPDX-License-Identifier: Apache-2.0
// phase_aware_guidance: three predictions of a denoiser mixed by weights that depend on the step.
#pragma once

#include <cmath>
#include <numbers>

#include "heed/block/pointwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// a + text (b - a) + audio (c - b).
struct GuidedTerms {
  static constexpr std::string_view kName = "phase_aware_guidance";
  double text = 1, audio = 1;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> a, simd::Batch<T> b, simd::Batch<T> c) const {
    return simd::fma(simd::Batch<T>(T(audio)), c - b, simd::fma(simd::Batch<T>(T(text)), b - a, a));
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T>, simd::Batch<T>) const {
    return d * simd::Batch<T>(T(Operand == 0 ? 1 - text : Operand == 1 ? text - audio : audio));
  }
};

}  // namespace detail

/// out = pred_uncond + w_g (pred_text - pred_uncond) + w_a (pred_full - pred_text) for predictions without conditions,
/// with text, and with text and audio. w is the scale itself, or where it is dynamic scale / 2 + scale / 4 (1 - cos(pi
/// ((n - i) / n)^5)) at step i of n, which falls from the scale to its half.
///
///   heed::PhaseAwareGuidance guide{{.num_steps = 25, .dynamic_text = true}};
///   auto y = guide(step, pred_uncond, pred_text, pred_full);  // or guide(device, step, ...)
///
/// One shape of any rank. Throws heed::Error for a step outside of 0 .. n - 1 and shapes that do not fit. Time linear.
/// Source: Meng et al. 2025 (EchoMimicV3), a transcription of the authors' sampling loop.
struct PhaseAwareGuidance {
  struct Options {
    Index num_steps = 1;
    double guidance_scale = 6;
    double audio_guidance_scale = 6;
    bool dynamic_text = false;
    bool dynamic_audio = false;
  };

  Options options = {};

  template <Operand A, Operand B, Operand C>
  auto operator()(Index step, const A& pred_uncond, const B& pred_text, const C& pred_full) const {
    return (*this)(DeviceRef(), step, pred_uncond, pred_text, pred_full);
  }
  template <Device D, Operand A, Operand B, Operand C>
  auto operator()(const D& device, Index step, const A& pred_uncond, const B& pred_text, const C& pred_full) const {
    constexpr std::string_view where = "phase_aware_guidance";
    require(step >= 0 && step < options.num_steps, where,
            "step must be in 0 .. num_steps - 1 = ", options.num_steps - 1, ", got ", step);
    require_shape(where, "pred_text", sizes_of(pred_text), sizes_of(pred_uncond));
    require_shape(where, "pred_full", sizes_of(pred_full), sizes_of(pred_uncond));
    const double left = double(options.num_steps - step) / double(options.num_steps);
    const double fall = 0.5 + 0.25 * (1 - std::cos(std::numbers::pi * std::pow(left, 5)));
    const detail::GuidedTerms terms{options.guidance_scale * (options.dynamic_text ? fall : 1),
                                    options.audio_guidance_scale * (options.dynamic_audio ? fall : 1)};
    return pointwise(terms, device, pred_uncond, pred_text, pred_full);
  }
};

}  // namespace heed::inline HEED_ISA
