// SPDX-License-Identifier: Apache-2.0
// coupled_decoupled_cross_attention: video tokens read text, an image, and the audio of their frame.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/pointwise.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// a + b + scale m c.
struct MaskedSum {
  static constexpr std::string_view kName = "coupled_decoupled_cross_attention";
  double scale = 1;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> a, simd::Batch<T> b, simd::Batch<T> c, simd::Batch<T> m) const {
    return a + b + simd::Batch<T>(T(scale)) * m * c;
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T>, simd::Batch<T>, simd::Batch<T> c, simd::Batch<T> m) const {
    if constexpr (Operand < 2) return d;
    return simd::Batch<T>(T(scale)) * d * (Operand == 2 ? m : c);
  }
};

}  // namespace detail

/// out = out(text + image + audio_scale mask audio), the attentions of one query RMS(q(x)) over three sources of keys
/// RMS(k(source)): text and image are read by every token, the audio of a frame by the tokens of that frame alone, its
/// result weighed token by token.
///
///   heed::CoupledDecoupledCrossAttention<float> attend{{.num_heads = 12}};
///   auto y = attend(x, text, image, audio, audio_mask);     // or attend(device, x, ...)
///
/// x and out (B, T n, C), frame by frame; text (B, Mt, C), image (B, Mi, C), audio (B, T, W, C), audio_mask (B, n), the
/// same for all frames. q, out, and k, v of each source C to C, biases optional; q_norm and the k_norm of each source
/// are RMS norms over all C channels. Throws heed::Error for shapes and options that do not fit. Time O(N (Mt + Mi + W)
/// C). The same bits for any number of threads. Source: Meng et al. 2025 (EchoMimicV3), the authors'
/// WanI2VCrossAttentionAudio.
template <Real T>
struct CoupledDecoupledCrossAttention {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-6;  ///< of the RMS norms
    double audio_scale = 1;
  };
  struct Source {
    Linear<T> k = {}, v = {};
    RmsNorm<T> k_norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "k.", k, "v.", v, "k_norm.", k_norm);
    }
  };

  Options options = {};
  Linear<T> q = {}, out = {};
  RmsNorm<T> q_norm = {};
  Source text = {}, image = {}, audio = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "out.", out, "q_norm.", q_norm, "text.", text, "image.", image, "audio.", audio);
  }

  template <Operand X, Operand Y, Operand I, Operand A, Operand M>
  auto operator()(const X& x, const Y& texts, const I& images, const A& audios, const M& audio_mask) const {
    return (*this)(DeviceRef(), x, texts, images, audios, audio_mask);
  }
  template <Device D, Operand X, Operand Y, Operand I, Operand A, Operand M>
  auto operator()(const D& device, const X& x, const Y& texts, const I& images, const A& audios,
                  const M& audio_mask) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<A> == 4 && kOperandRank<M> == 2,
                  "heed::CoupledDecoupledCrossAttention: x is (B, T n, C), audio (B, T, W, C), audio_mask (B, n)");
    const auto s = sizes_of(x);
    const Index each = check(s, sizes_of(texts), sizes_of(images), sizes_of(audios), sizes_of(audio_mask));
    const auto queries = rms_norm(device, q(device, x), q_norm.weight, options.eps);
    const auto read = [&](const auto& from, const Source& by, const auto& source) {
      const auto keys = rms_norm(device, by.k(device, source), by.k_norm.weight, options.eps);
      return attend_heads(device, softmax_attention(), options.num_heads, from, keys, by.v(device, source));
    };
    const auto from_text = read(queries, text, parameter_with(texts, x));
    const auto from_image = read(queries, image, parameter_with(images, x));
    const auto frames = contiguous(device, parameter_with(audios, x));
    const auto from_audio = read(view(queries).split(1, each).merge(0), audio, view(frames).merge(0));
    const auto by_frame = [&](const auto& of) { return view(of).split(1, each); };
    const auto mask = parameter_with(audio_mask, x);
    const auto mixed =
        pointwise(detail::MaskedSum{options.audio_scale}, device, by_frame(from_text), by_frame(from_image),
                  view(from_audio).split(0, s[1] / each), view(mask).split(0, 1).split(2, 1));
    return out(device, view(mixed).merge(1));
  }

 private:
  static constexpr std::string_view kName = "coupled_decoupled_cross_attention";

  // The tokens of a frame.
  Index check(const std::array<Index, 3>& x, const std::array<Index, 3>& texts, const std::array<Index, 3>& images,
              const std::array<Index, 4>& audios, const std::array<Index, 2>& mask) const {
    const Index channels = x[2], frames = audios[1];
    require(options.num_heads > 0 && channels % options.num_heads == 0, kName, "num_heads = ", options.num_heads,
            " must divide C = ", channels);
    require(texts[0] == x[0] && images[0] == x[0] && audios[0] == x[0], kName,
            "x, text, image and audio must have one "
            "batch size, got ",
            x[0], ", ", texts[0], ", ", images[0], " and ", audios[0]);
    require(frames > 0 && x[1] % frames == 0, kName, "the ", frames, " frames of audio must divide the ", x[1],
            " tokens of x");
    require_shape(kName, "audio_mask", mask, std::array<Index, 2>{x[0], x[1] / frames});
    check_linear(kName, "q", q, channels, channels);
    check_linear(kName, "out", out, channels, channels);
    const auto source = [&](const std::string& name, const Source& by, Index width) {
      check_linear(kName, name + ".k", by.k, width, channels);
      check_linear(kName, name + ".v", by.v, width, channels);
    };
    source("text", text, texts[2]);
    source("image", image, images[2]);
    source("audio", audio, audios[3]);
    return x[1] / frames;
  }
};

}  // namespace heed::inline HEED_ISA
