// SPDX-License-Identifier: Apache-2.0
// duplex_attention_alignment: keys of one modality, pulled towards what the other's keys and values span.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// out = the keys k, but those of visual tokens are (k + ratio_visual * (u(k) G)) fuse_visual.weight^T, where u(z) = (z
/// + eps) / |z + eps| and G = u(k_text)^T v_text, with every row divided by its length. With `both`, those of text
/// tokens likewise, by the visual tokens' G, ratio_text and fuse_text; both read the original keys.
///
///   heed::DuplexAttentionAlignment<float> align;
///   auto keys = align(k, v, modality);                      // or align(device, k, v, modality)
///
/// k, v and out (B, H, N, D), after the repetition of heads and the rotation; modality (B, N) int32, 1 text, 2 visual,
/// 0 neither; ratio (D), 0 at first; fuse.weight (D, D), shared by the heads, no bias. An item without text or without
/// visual tokens keeps its keys. O(B H N D^2). Throws heed::Error for shapes and an eps that do not fit. The same bits
/// for any number of threads. Source: Zhang et al. 2025 (MODA), section 3.2; G of keys and values as in the authors'
/// code (their figure has keys and keys), `both` as in the paper.
template <Real T>
struct DuplexAttentionAlignment {
  struct Options {
    bool both = false;  ///< also the text's keys
    double eps = 1e-6;
  };

  Options options = {};
  Tensor<T, 1> ratio_visual = {}, ratio_text = {};  ///< (D)
  Linear<T> fuse_visual = {}, fuse_text = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("ratio_visual", ratio_visual);
    f("fuse_visual.weight", fuse_visual.weight);
    f("ratio_text", ratio_text, heed::optional);
    f("fuse_text.weight", fuse_text.weight, heed::optional);
  }

  template <Operand K, Operand V, TensorLike M>
  auto operator()(const K& k, const V& v, const M& modality) const {
    return (*this)(DeviceRef(), k, v, modality);
  }
  template <Device D, Operand K, Operand V, TensorLike M>
  auto operator()(const D& device, const K& k, const V& v, const M& modality) const {
    static_assert(kOperandRank<K> == 4 && kOperandRank<V> == 4 && kRankOf<M> == 2,
                  "heed::DuplexAttentionAlignment: k and v are (B, H, N, D), modality (B, N)");
    check(sizes_of(k), sizes_of(v), const_view(modality).sizes);
    Tensor<T, 1> small(1);
    small(0) = T(options.eps);
    const auto unit = l2_normalize(device, add(device, k, constant_with(std::move(small), k, v)));
    const auto kept = packed_with(masks(const_view(modality)), k, v);
    // Of each token (B, 1, N, 1): of a text, of a visual, and neither, in an item that has both.
    const auto of = [&](Index row) { return view(kept).select(0, row).split(1, 1).split(0, 1); };
    const auto by_visual = pulled(device, k, v, unit, of(kText), ratio_visual, fuse_visual);
    const auto visual_keys = masked_fill(device, by_visual, of(kVisual), 0);
    const auto own = masked_fill(device, k, of(options.both ? kNeither : kNotVisual), 0);
    auto result = add(device, own, visual_keys);
    if (options.both) {
      const auto by_text = pulled(device, k, v, unit, of(kVisual), ratio_text, fuse_text);
      result = add(device, result, masked_fill(device, by_text, of(kText), 0));
    }
    return result;
  }

 private:
  static constexpr std::string_view kName = "duplex_attention_alignment";
  enum Row : Index { kText, kVisual, kNotVisual, kNeither };

  // All keys, as if each were of the modality that is pulled towards `basis`.
  template <class D, Operand K, Operand V, Operand U, class M>
  static auto pulled(const D& device, const K& k, const V& v, const U& unit, const M& basis, const Tensor<T, 1>& ratio,
                     const Linear<T>& fuse) {
    const auto span = masked_fill(device, unit, basis, 0);
    const auto product = matmul(device, view(span).permute({0, 1, 3, 2}), v);
    const auto moved = matmul(device, unit, l2_normalize(device, product));
    return fuse(device, add(device, k, multiply(device, moved, parameter_with(ratio, k, v))));
  }

  static Tensor<std::uint8_t, 3> masks(const View<const std::int32_t, 2>& modality) {
    Tensor<std::uint8_t, 3> result(4, modality.size(0), modality.size(1));
    for (Index b = 0; b < modality.size(0); ++b) {
      bool text = false, visual = false;
      for (Index i = 0; i < modality.size(1); ++i) {
        text |= modality(b, i) == 1;
        visual |= modality(b, i) == 2;
      }
      for (Index i = 0; i < modality.size(1); ++i) {
        const bool is_text = text && visual && modality(b, i) == 1, is_visual = text && visual && modality(b, i) == 2;
        result(kText, b, i) = is_text;
        result(kVisual, b, i) = is_visual;
        result(kNotVisual, b, i) = !is_visual;
        result(kNeither, b, i) = !is_text && !is_visual;
      }
    }
    return result;
  }

  void check(const std::array<Index, 4>& k, const std::array<Index, 4>& v, const std::array<Index, 2>& modality) const {
    require(std::isfinite(options.eps) && options.eps >= 0, kName, "eps must be 0 or positive and finite, got ",
            options.eps);
    require(v == k, kName, "v must have the shape of k, ", shape_text(k), ", got ", shape_text(v));
    require_shape(kName, "modality", modality, std::array<Index, 2>{k[0], k[2]});
    check_linear(kName, "fuse_visual", fuse_visual, k[3], k[3]);
    require(ratio_visual.size() == k[3], kName, "ratio_visual must have shape (D) = (", k[3], "), got (",
            ratio_visual.size(), ")");
    if (!options.both) return;
    check_linear(kName, "fuse_text", fuse_text, k[3], k[3]);
    require(ratio_text.size() == k[3], kName, "ratio_text must have shape (D) = (", k[3], "), got (", ratio_text.size(),
            ")");
  }
};

}  // namespace heed::inline HEED_ISA
