// SPDX-License-Identifier: Apache-2.0
// outlook_attention: each centre predicts the attention of its window from its own feature.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/resample.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/window_mix.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The mean of each cell of `stride` positions, the last one of what is left.
struct CellMean {
  static constexpr std::string_view kName = "outlook_attention";
  Index stride;
  Index output(std::size_t, Index size) const { return (size + stride - 1) / stride; }
  template <Real T>
  kernel::AxisWindows<T> windows(ScratchFrame& frame, std::size_t, Index size, Index outputs) const {
    kernel::AxisWindows<T> result(frame, outputs, stride);
    for (Index i = 0; i < outputs; ++i) {
      const Index count = std::min(stride, size - i * stride);
      result.set(i, i * stride, count, T(1) / T(count));
    }
    return result;
  }
};

}  // namespace detail

/// out = out(the sum over windows of A v), with the K^2 x K^2 weights A of window (i, j) and each head = the softmax
/// over the last axis of attn(e_ij) / sqrt(d), read as (head, output offset, input offset); e_ij is the mean of x over
/// the cell of `stride` rows and columns from (i stride, j stride) on; v = v(x). The window has its K rows and columns
/// from (i stride - padding, j stride - padding) on; positions that are not on the map have the value 0, take part in
/// the softmax, and get nothing.
///
/// x (B, h, w, C), channels last, out as x; v.weight and out.weight (C, C), attn.weight (H K^4, C), biases optional;
/// d = C / H. There must be as many windows as cells, floor((h + 2 padding - K) / stride) + 1 = ceil(h / stride), and
/// likewise w: with padding K / 2 there are. Throws heed::Error for that and for shapes and options that do not fit.
/// Time O(B h' w' (H C K^4 + K^4 C) + B h w C^2). The same bits for any number of threads. Source: Yuan et al. 2021
/// (VOLO), section 3.1.
template <Real T>
struct OutlookAttention {
  struct Options {
    Index num_heads = 1;
    Index kernel_size = 3;  ///< K, 1 or more
    Index padding = 1;      ///< 0 or more
    Index stride = 1;       ///< 1 or more
  };

  Options options = {};
  Linear<T> v = {}, attn = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "v.", v, "attn.", attn, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4, "heed::OutlookAttention: x is (B, h, w, C)");
    check(sizes_of(x));
    if (options.stride == 1) return mix(device, x, x);
    const auto cells = resample(detail::CellMean{options.stride}, device, view(x).permute({0, 3, 1, 2}));
    return mix(device, x, view(cells).permute({0, 2, 3, 1}));
  }

 private:
  static constexpr std::string_view kName = "outlook_attention";

  template <Device D, Operand X, Operand E>
  auto mix(const D& device, const X& x, const E& centres) const {
    const Index offsets = options.kernel_size * options.kernel_size;
    const auto logits = attn(device, centres);
    const auto scaled = scale(device, logits, 1 / std::sqrt(double(sizes_of(x)[3] / options.num_heads)));
    const auto weights = softmax(device, view(scaled).split(3, offsets));  // (B, h', w', H K^2, K^2)
    const auto values = v(device, x);
    return out(device, window_mix(device, weights, values, {options.kernel_size, options.padding, options.stride}));
  }

  void check(const std::array<Index, 4>& x) const {
    const Index channels = x[3], k = options.kernel_size, s = options.stride, p = options.padding;
    require(options.num_heads > 0 && channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    require(k > 0 && s > 0 && p >= 0, kName, "kernel_size and stride must be 1 or more and padding 0 or more, got ", k,
            ", ", s, " and ", p);
    for (const Index size : {x[1], x[2]})
      require(size > 0 && size + 2 * p >= k && (size + 2 * p - k) / s + 1 == (size + s - 1) / s, kName,
              "windows and cells must be as many: kernel_size ", k, ", padding ", p, " and stride ", s,
              " do not fit x of shape ", shape_text(x));
    check_linear(kName, "v", v, channels, channels);
    check_linear(kName, "attn", attn, channels, options.num_heads * k * k * k * k);
    check_linear(kName, "out", out, channels, channels);
  }
};

}  // namespace heed::inline HEED_ISA
