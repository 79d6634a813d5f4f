// SPDX-License-Identifier: Apache-2.0
// in_context_multimodal_attention: joint attention of text and a polyptych of images, with registers.
#pragma once

#include <vector>

#include "heed/attention/heads.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// o = join(softmax(Q [K ; registers_0]^T / sqrt(D)) [V ; registers_1]) over text and image tokens, text first;
/// text_out = text.out(o of the text), image_out = image.out(o of the image). Each stream has its own projections, with
/// Q and K brought to root mean square 1 by head; those of the image then get heads(boundary) added; then all are
/// rotated.
///
///   heed::InContextMultimodalAttention<float> attend{{.num_heads = 24, .rope_axes = {16, 56, 56}}};
///   auto [image_out, text_out] = attend(image, text, positions, boundary, registers);
///
/// image (B, Ni, C), text (B, Nt, C), modulated; positions (B, Nt + Ni, A) int32, text first; boundary (B, Ni, C), a
/// code of the panel that a token is in; registers (B, 2, R, C), keys and values that are neither normed nor rotated.
/// The channels of a head are cut into groups of the widths rope_axes, even and D together; group a is rotated by
/// coordinate a in pairs of neighbouring channels. Of each stream q, k, v, out: C to C, biases optional; q_norm, k_norm
/// (D), eps 1e-6. Without use_boundary or use_registers that input is not read; without both it is the attention of
/// FLUX. Every source is written where the one attention reads it. O(B (Nt + Ni) (Nt + Ni + R) C). Throws heed::Error
/// for shapes and options that do not fit. The same bits for any number of threads. Source: Li et al. 2025 (IC-Custom),
/// section 3.3; the authors' DoubleStreamBlockProcessor.
template <Real T>
struct InContextMultimodalAttention {
  struct Options {
    Index num_heads = 1;
    std::vector<Index> rope_axes = {16, 56, 56};
    double rope_base = 10000;
    bool use_boundary = true;
    bool use_registers = true;
  };
  struct Stream {
    Linear<T> q = {}, k = {}, v = {}, out = {};
    RmsNorm<T> q_norm = {}, k_norm = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "q_norm.", q_norm, "k_norm.", k_norm);
    }
  };
  template <class Out>
  struct Result {
    Out image_out, text_out;
  };

  Options options = {};
  Stream image = {}, text = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "image.", image, "text.", text);
  }

  template <Operand X, Operand Y, TensorLike P, Operand B, Operand R>
  auto operator()(const X& image_tokens, const Y& text_tokens, const P& positions, const B& boundary,
                  const R& registers) const {
    return (*this)(DeviceRef(), image_tokens, text_tokens, positions, boundary, registers);
  }
  template <Device D, Operand X, Operand Y, TensorLike P, Operand B, Operand R>
  auto operator()(const D& device, const X& image_tokens, const Y& text_tokens, const P& positions, const B& boundary,
                  const R& registers) const {
    static_assert(
        kOperandRank<X> == 3 && kOperandRank<Y> == 3 && kRankOf<P> == 3 && kOperandRank<B> == 3 && kOperandRank<R> == 4,
        "heed::InContextMultimodalAttention: image, text, positions and boundary have three axes, registers four");
    const auto images = parameter_with(image_tokens, text_tokens, boundary, registers);
    const auto words = parameter_with(text_tokens, images);
    const auto s = sizes_of(images);
    const Index first = sizes_of(words)[1], tokens = first + s[1],
                extra = options.use_registers ? sizes_of(registers)[2] : 0;
    const View<const std::int32_t, 3> at = const_view(positions);
    check(s, sizes_of(words), at.sizes);
    if (options.use_boundary) require_shape(kName, "boundary", sizes_of(boundary), s);
    if (options.use_registers)
      require_shape(kName, "registers", sizes_of(registers), std::array<Index, 4>{s[0], 2, extra, s[2]});
    const auto buffer = [&](Index rows) {
      return make_output<T, 3>(kName, {s[0], rows, s[2]}, images, words, boundary, registers);
    };
    auto queries = buffer(tokens);
    auto keys = buffer(tokens + extra);
    auto values = buffer(tokens + extra);
    const auto text_at = at.slice(1, 0, first), image_at = at.slice(1, first, s[1]);
    const auto place = [&](auto& all) { return view(all).slice(1, 0, first); };
    const auto behind = [&](auto& all) { return view(all).slice(1, first, s[1]); };
    turned(device, normed(device, text.q, text.q_norm, words), text_at, place(queries));
    turned(device, normed(device, text.k, text.k_norm, words), text_at, place(keys));
    const auto put_image = [&](const auto& heads, const auto& to) {
      if (options.use_boundary) {
        turned(device, add(device, heads, view(boundary).split(2, width(s[2]))), image_at, to);
      } else {
        turned(device, heads, image_at, to);
      }
    };
    put_image(normed(device, image.q, image.q_norm, images), behind(queries));
    put_image(normed(device, image.k, image.k_norm, images), behind(keys));
    text.v(device, words, place(values));
    image.v(device, images, behind(values));
    if (options.use_registers) {
      concat_into<1>(device, view(keys).slice(1, tokens, extra), view(registers).select(1, 0));
      concat_into<1>(device, view(values).slice(1, tokens, extra), view(registers).select(1, 1));
    }
    const auto mixed = attend_heads(device, softmax_attention(), options.num_heads, queries, keys, values);
    auto image_out = image.out(device, view(mixed).slice(1, first, s[1]));
    auto text_out = text.out(device, view(mixed).slice(1, 0, first));
    return Result<decltype(image_out)>{std::move(image_out), std::move(text_out)};
  }

 private:
  static constexpr std::string_view kName = "in_context_multimodal_attention";

  Index width(Index channels) const { return channels / options.num_heads; }

  // Projected heads (B, N, H, D) of root mean square 1.
  template <class D, Operand X>
  auto normed(const D& device, const Linear<T>& layer, const RmsNorm<T>& norm, const X& tokens) const {
    const auto projected = layer(device, tokens);
    return rms_norm(device, view(projected).split(2, width(sizes_of(projected)[2])), norm.weight, 1e-6);
  }

  // Heads (B, N, H, D), every group of channels by its coordinate, into tokens (B, N, H D).
  template <class D, Operand X, Operand O>
  void turned(const D& device, const X& heads, const View<const std::int32_t, 3>& at, const O& out) const {
    const auto from = view(heads).permute({0, 2, 1, 3});
    const auto to = split_heads(out, options.num_heads);
    const RotaryOptions rotary{.base = options.rope_base, .interleaved = true};
    Index start = 0;
    for (std::size_t axis = 0; axis < options.rope_axes.size(); ++axis) {
      const Index channels = options.rope_axes[axis];
      rotate(device, from.slice(3, start, channels), at.select(2, Index(axis)), rotary, to.slice(3, start, channels),
             kName);
      start += channels;
    }
  }

  void check(const std::array<Index, 3>& images, const std::array<Index, 3>& words,
             const std::array<Index, 3>& positions) const {
    const Index channels = images[2], heads = options.num_heads;
    require(words[0] == images[0] && words[2] == channels, kName,
            "text must have shape (B, Nt, C) with B = ", images[0], " and C = ", channels, ", got ", shape_text(words));
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require_shape(kName, "positions", positions,
                  std::array<Index, 3>{images[0], words[1] + images[1], Index(options.rope_axes.size())});
    Index sum = 0;
    for (const Index axis : options.rope_axes) {
      require(axis > 0 && axis % 2 == 0, kName, "rope_axes must be even and 2 or more, got ", axis);
      sum += axis;
    }
    require(sum == width(channels), kName, "rope_axes must sum to D = ", width(channels), ", got ", sum);
  }
};

}  // namespace heed::inline HEED_ISA
