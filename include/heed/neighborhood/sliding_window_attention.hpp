// SPDX-License-Identifier: Apache-2.0
// sliding_window_attention: a band of keys around each query, dilated for each head.
#pragma once

#include <vector>

#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T) v over the keys j = i + t * dilation, t = -window_size .. window_size, or up to 0 if causal,
/// that exist.
///
///   heed::SlidingWindowAttention attend{{.window_size = 256, .dilation = {1, 1, 2, 4}}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q, k (B, H, N, D), v (B, H, N, Dv), out (B, H, N, Dv); any N. The window is cut at the borders, where that of
/// NeighborhoodAttention moves. Every query sees itself. Throws heed::Error, before anything is written, for shapes and
/// options that do not fit. Time O(N window_size (D + Dv)): the tokens of one residue modulo the dilation are a
/// sequence of their own, attended in place. The same bits for any number of threads.
/// Source: Beltagy et al. 2020 (Longformer), section 3.1; the authors' sliding_chunks.py, without its limit on N.
/// Dilation and causal are a transcription.
struct SlidingWindowAttention {
  struct Options {
    Index window_size = 256;            ///< keys on each side, 0 or more
    std::vector<Index> dilation = {1};  ///< tokens from key to key, 1 or more: one for all heads, or one for each
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::SlidingWindowAttention: q, k and v are (B, H, N, D)");
    const auto sizes = sizes_of(q);
    const Index width = sizes_of(v)[3];
    check(sizes, sizes_of(k), sizes_of(v));
    const SoftmaxOptions common{.scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])))};
    const auto attend = softmax_attention(
        window_left(options.window_size) && window_right(options.causal ? 0 : options.window_size), common);
    auto out = make_output<OperandScalar<Q>, 4>(kName, {sizes[0], sizes[1], sizes[2], width}, q, k, v);
    for (Index h = 0, heads = 1; h < sizes[1]; h += heads) {
      const Index step = dilation_of(h);
      for (heads = 1; h + heads < sizes[1] && dilation_of(h + heads) == step;) ++heads;
      for (Index first = 0; first < std::min(step, sizes[2]); ++first) {
        const auto part = [&](const auto& x) { return view(x).slice(1, h, heads).stepped(2, first, step); };
        attend(device, part(q), part(k), part(v), into(view(out).slice(1, h, heads).stepped(2, first, step)));
      }
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "sliding_window_attention";

  Index dilation_of(Index head) const { return options.dilation[options.dilation.size() == 1 ? 0 : std::size_t(head)]; }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v) const {
    require(k == q, kName, "k must have the shape of q, ", shape_text(q), ", got ", shape_text(k));
    const std::array<Index, 4> values{q[0], q[1], q[2], v[3]};
    require(v == values, kName, "v must have shape (B, H, N, Dv) = ", shape_text(values), ", got ", shape_text(v));
    require(options.window_size >= 0, kName, "window_size must be 0 or more, got ", options.window_size);
    require(options.dilation.size() == 1 || Index(options.dilation.size()) == q[1], kName,
            "dilation must be one number, or one for each of the ", q[1], " heads, got ", options.dilation.size());
    for (const Index step : options.dilation) require(step > 0, kName, "dilation must be 1 or more, got ", step);
  }
};

}  // namespace heed::inline HEED_ISA
