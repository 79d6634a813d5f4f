// SPDX-License-Identifier: Apache-2.0
// window_attention: attention inside the windows of a grid, which may be shifted.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/embedding.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/core/divide.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Adds `penalty` to the score of two tokens of a window that lie in different regions: ids (windows, tokens).
struct RegionPenalty : ScoreModifierBase {
  View<const float, 2> ids;
  double penalty;
  Divider windows;
  static constexpr bool kMayHide = false;

  template <class S, Real T, Lanes L>
  HEED_INLINE S operator()(S s, const At<T, L>& at) const {
    const View<const float, 1> own(ids.at(windows.remainder(at.batch)), {ids.size(1)});
    const simd::Batch<T> zero(T(0)), apart = simd::Batch<T>(T(penalty));
    return s + S(simd::select(at.of_query(own) == at.of_key(own), zero, apart));
  }
};

/// How the pixels of an image go to windows of a cyclically shifted and padded grid, and back.
struct WindowPartition {
  std::array<Index, 2> image{}, window{}, shift{};
  std::array<Index, 2> windows{};  // along each axis

  WindowPartition(const std::array<Index, 2>& image, const std::array<Index, 2>& window,
                  const std::array<Index, 2>& shift)
      : image(image), window(window), shift(shift) {
    for (std::size_t axis = 0; axis < 2; ++axis) windows[axis] = (image[axis] + window[axis] - 1) / window[axis];
  }
  Index count() const { return windows[0] * windows[1]; }
  Index tokens() const { return window[0] * window[1]; }

  /// Pixel of the image behind each token of each window, -1 for padding; the token of each pixel; and of which of the
  /// four regions that wrapped around or not each token is.
  void fill(std::int32_t* pixel_of, std::int32_t* token_of, float* regions) const {
    for (Index w = 0; w < count(); ++w)
      for (Index t = 0; t < tokens(); ++t) {
        const std::array<Index, 2> at{w / windows[1], w % windows[1]}, in{t / window[1], t % window[1]};
        std::array<Index, 2> pixel;
        bool inside = true;
        int region = 0;
        for (std::size_t axis = 0; axis < 2; ++axis) {
          const Index padded = windows[axis] * window[axis];
          pixel[axis] = (at[axis] * window[axis] + in[axis] + shift[axis]) % padded;
          inside = inside && pixel[axis] < image[axis];
          region = 2 * region + int(pixel[axis] < shift[axis]);
        }
        const Index token = w * tokens() + t, index = pixel[0] * image[1] + pixel[1];
        pixel_of[token] = std::int32_t(inside ? index : Index(-1));
        if (inside) token_of[index] = std::int32_t(token);
        regions[token] = float(region);
      }
  }
};

}  // namespace detail

/// Multi-head self-attention of each window_size window of an image, with relative positions, on a grid that is
/// cyclically shifted by `shift`.
///
///   heed::WindowAttention<float> attend{{.num_heads = 3, .window_size = {7, 7}, .shift = {3, 3}}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, h, w, C), rows and pixels one after the other in memory; qkv.weight (3 C, C), qkv.bias (3 C) or empty,
/// out.weight (C, C), out.bias (C) or empty, rel_bias_table ((2 w_h - 1)(2 w_w - 1), H) or empty. With D = C / H:
///
/// 1. x is padded with zeros at the bottom and on the right to H' x W', multiples of the window. Padding comes before
///    the projection, so that a padded token has the bias as q, k and v, and takes part as a key.
/// 2. Pixel (y, x) stands at ((y - s_h) mod H', (x - s_w) mod W') of the grid that is cut into windows.
/// 3. Tokens at (a, b) and (a', b') of one window score scale * q.k + rel_bias_table[(a - a' + w_h - 1)(2 w_w - 1) +
///    b - b' + w_w - 1, head] + region_penalty if exactly one of them wrapped around vertically or exactly one
///    horizontally.
/// 4. Softmax over the window, weighted sum of v, output projection; pixels back in place, without the padding.
///
/// The penalty is finite, as the authors' -100: scores that lie further apart leak. That a map no larger than the
/// window has no shift is for the caller to decide. Throws heed::Error, before anything is written, for shapes and
/// options that do not fit. Time O(N w_h w_w C) beside the projections; the same bits for any number of threads.
/// Source: Liu et al., Swin Transformer, ICCV 2021; the authors' WindowAttention, and that of DaViT (Ding et al. 2022)
/// for the padding. Windows that are not square are a transcription.
template <Real T>
struct WindowAttention {
  struct Options {
    Index num_heads = 1;
    std::array<Index, 2> window_size{7, 7};      ///< w_h, w_w: pixels
    std::array<Index, 2> shift{0, 0};            ///< s_h, s_w: pixels, 0 or more and less than the window
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(C / H)
    double region_penalty = -100;                ///< finite
  };

  Options options = {};
  Linear<T> qkv = {}, out = {};
  Tensor<T, 2> rel_bias_table = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkv.", qkv, "out.", out);
    f("rel_bias_table", rel_bias_table, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return attend_by(options, device, x);
  }
  /// The same under other options, for an operator that this one is a part of.
  template <Device D, Operand X>
  auto attend_by(const Options& o, const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::WindowAttention: x is (B, h, w, C)");
    const auto sizes = sizes_of(x);
    check(o, sizes);
    const detail::WindowPartition parts({sizes[1], sizes[2]}, o.window_size, o.shift);
    const Index pixels = sizes[1] * sizes[2], padded = parts.count() * parts.tokens();
    ScratchFrame frame;
    auto* const pixel_of = frame.take<std::int32_t>(padded);
    auto* const token_of = frame.take<std::int32_t>(pixels);
    auto* const regions = frame.take<float>(padded);
    parts.fill(pixel_of, token_of, regions);

    const auto by_batch = [&](const std::int32_t* indices, Index count) {
      return View<const std::int32_t, 2>(indices, {sizes[0], count}, {0, 1});
    };
    auto&& space = intermediates<T>(kName, x);
    const auto windows = space.template make<3>({sizes[0], padded, sizes[3]});
    const auto packed = space.template make<3>({sizes[0], padded, 3 * sizes[3]});
    const auto mixed = space.template make<3>({sizes[0], padded, sizes[3]});
    const auto projected = space.template make<3>({sizes[0], padded, sizes[3]});
    gather(device, view(x).merge(1), by_batch(pixel_of, padded), windows);
    qkv(device, windows, packed);
    // Heads (B windows, H, tokens, D) in place; part 0, 1 or 2 of the packed projection.
    const auto heads = [&](const auto& tokens, Index part) {
      const auto by_window = tokens.split(1, parts.tokens()).merge(0).slice(2, part * sizes[3], sizes[3]);
      return split_heads(by_window, o.num_heads);
    };
    const View<const float, 2> region_ids(regions, {parts.count(), parts.tokens()});
    attend(o, device, heads(packed, 0), heads(packed, 1), heads(packed, 2), region_ids, parts, heads(mixed, 0));
    out(device, mixed, projected);
    auto image = make_output<T, 4>(kName, sizes, x);
    gather(device, projected, by_batch(token_of, pixels), view(image).merge(1));
    return image;
  }

 private:
  static constexpr std::string_view kName = "window_attention";

  template <class D, Operand Q, Operand O>
  void attend(const Options& o, const D& device, const Q& q, const Q& k, const Q& v,
              const View<const float, 2>& regions, const detail::WindowPartition& parts, const O& target) const {
    const SoftmaxOptions common{.scale = o.scale};
    const bool shifted = o.shift[0] > 0 || o.shift[1] > 0;
    if (!shifted && rel_bias_table.size() == 0) return softmax_attention(common)(device, q, k, v, into(target));
    const auto ids = packed_with(regions, q);
    const detail::RegionPenalty penalty{{}, const_view(ids), o.region_penalty, Divider(parts.count())};
    const auto table = parameter_with(rel_bias_table, q);
    ScratchFrame frame;
    const auto pairs = embedding(device, table, rows_of_pairs(frame, parts.window));
    const auto biases = contiguous(device, view(pairs).permute({2, 0, 1}));
    softmax_attention(when(rel_bias_table.size() > 0, bias(biases)) | when(shifted, penalty), common)(device, q, k, v,
                                                                                                      into(target));
  }

  // Rows of the table, (tokens, tokens); none without a table.
  View<const std::int32_t, 2> rows_of_pairs(ScratchFrame& frame, const std::array<Index, 2>& window) const {
    const Index tokens = rel_bias_table.size() > 0 ? window[0] * window[1] : 0;
    auto* const rows = frame.take<std::int32_t>(tokens * tokens);
    for (Index i = 0; i < tokens; ++i)
      for (Index j = 0; j < tokens; ++j)
        rows[i * tokens + j] = std::int32_t((i / window[1] - j / window[1] + window[0] - 1) * (2 * window[1] - 1) +
                                            i % window[1] - j % window[1] + window[1] - 1);
    return {rows, {tokens, tokens}};
  }

  void check(const Options& o, const std::array<Index, 4>& x) const {
    require(x[1] > 0 && x[2] > 0, kName, "x must have pixels, got shape ", shape_text(x));
    require(o.num_heads > 0 && x[3] > 0 && x[3] % o.num_heads == 0, kName, "the channels of x, ", x[3],
            ", must be a multiple of num_heads, ", o.num_heads);
    for (std::size_t axis = 0; axis < 2; ++axis)
      require(o.window_size[axis] > 0 && o.shift[axis] >= 0 && o.shift[axis] < o.window_size[axis], kName,
              "window_size must be 1 or more and shift in 0 .. window_size - 1, got ", shape_text(o.window_size),
              " and ", shape_text(o.shift));
    require(std::isfinite(o.region_penalty), kName, "region_penalty must be finite, got ", o.region_penalty);
    check_linear(kName, "qkv", qkv, x[3], 3 * x[3]);
    check_linear(kName, "out", out, x[3], x[3]);
    const std::array<Index, 2> table{(2 * o.window_size[0] - 1) * (2 * o.window_size[1] - 1), o.num_heads};
    if (rel_bias_table.size() > 0) require_shape(kName, "rel_bias_table", const_view(rel_bias_table).sizes, table);
  }
};

}  // namespace heed::inline HEED_ISA
