// SPDX-License-Identifier: Apache-2.0
// cross_modality_attention_inhibition: text is cut off from the image tokens that it has little reason to look at.
#pragma once

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/weights.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/selection.hpp"

namespace heed::inline HEED_ISA {

/// With A the causal weights of softmax(q k^T / sqrt(D)), averaged over heads: focus = A[text, text] A[text, image],
/// the text and image tokens in order. In each text row the floor(inhibit_ratio Ni) image tokens of least focus are
/// inhibited, ties to the lower index (later image tokens have focus 0); out = causal attention without those pairs.
///
/// q, k (B, H, N, D), v and out (B, H, N, Dv); image_mask (N) of std::uint8_t; focus (B, Nt, Ni), inhibited (B, Nt, Ni)
/// of std::uint8_t. Image rows are as in causal attention. The choice has no gradient. Throws heed::Error for shapes
/// and options that do not fit. Memory B H N^2 for the weights, time O(B N^2 (H D + Nt)). Source: Yang et al. 2024
/// (CMAI), from its description, a transcription: that one layer's own map is used, and a fixed ratio, is our reading.
struct CrossModalityAttentionInhibition {
  struct Options {
    double inhibit_ratio = 0.5;  ///< 0 to 1
  };
  template <class F, class O>
  struct Result {
    F focus;
    Tensor<std::uint8_t, 3> inhibited;
    O out;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const Q& q, const K& k, const V& v, const M& image_mask) const {
    return (*this)(DeviceRef(), q, k, v, image_mask);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const D& device, const Q& q_like, const K& k_like, const V& v_like, const M& image_mask) const {
    static_assert(kOperandRank<Q> == 4 && kRankOf<M> == 1, "heed::CrossModalityAttentionInhibition: q is (B, H, N, D)");
    const auto q = parameter_with(q_like, k_like, v_like), k = parameter_with(k_like, q_like, v_like);
    const auto v = parameter_with(v_like, q_like, k_like);
    const auto sizes = sizes_of(q);
    const Index batch = sizes[0], n = sizes[2];
    const auto is_image = const_view(image_mask);
    require(sizes_of(k)[2] == n && is_image.size(0) == n, kName, "k and image_mask must have the N = ", n,
            " tokens of q, got ", sizes_of(k)[2], " and ", is_image.size(0));
    require(options.inhibit_ratio >= 0 && options.inhibit_ratio <= 1, kName, "inhibit_ratio must be from 0 to 1, got ",
            options.inhibit_ratio);

    const auto text = places(is_image, false, batch), image = places(is_image, true, batch);
    const auto weights = attention_weights(device, softmax_attention(causal()), q, k);
    const auto map = copy_as<3>(device, mean(device, weights, {1}), {batch, n, n});
    const auto rows = gather(device, map, text);  // (B, Nt, N); its columns are gathered as rows of the transpose
    const auto to_text = gather(device, view(rows).permute({0, 2, 1}), text);
    const auto to_image = gather(device, view(rows).permute({0, 2, 1}), image);
    auto focus = matmul(device, view(to_text).permute({0, 2, 1}), view(to_image).permute({0, 2, 1}));

    const Index least = Index(options.inhibit_ratio * double(image.dimension(1)));
    auto inhibited = largest_mask(device, scale(device, values_of(focus), -1), least);
    const auto mask = packed_with(visible(inhibited, text, image, n), q);
    auto out = softmax_attention(causal() && boolean_mask(const_view(mask).split(0, 1)))(device, q, k, v);
    return Result<decltype(focus), decltype(out)>{std::move(focus), std::move(inhibited), std::move(out)};
  }

 private:
  static constexpr std::string_view kName = "cross_modality_attention_inhibition";

  // The tokens of one kind, for each batch.
  static Tensor<std::int32_t, 2> places(const View<const std::uint8_t, 1>& is_image, bool image, Index batch) {
    std::vector<std::int32_t> found;
    for (Index i = 0; i < is_image.size(0); ++i)
      if ((is_image(i) != 0) == image) found.push_back(std::int32_t(i));
    Tensor<std::int32_t, 2> result(batch, Index(found.size()));
    for (Index b = 0; b < batch; ++b) std::copy(found.begin(), found.end(), result.data() + b * Index(found.size()));
    return result;
  }
  static Tensor<std::uint8_t, 3> visible(const Tensor<std::uint8_t, 3>& inhibited, const Tensor<std::int32_t, 2>& text,
                                         const Tensor<std::int32_t, 2>& image, Index n) {
    Tensor<std::uint8_t, 3> mask(inhibited.dimension(0), n, n);
    mask.setConstant(1);
    for (Index b = 0; b < inhibited.dimension(0); ++b)
      for (Index t = 0; t < inhibited.dimension(1); ++t)
        for (Index i = 0; i < inhibited.dimension(2); ++i)
          if (inhibited(b, t, i) != 0) mask(b, text(b, t), image(b, i)) = 0;
    return mask;
  }
};

}  // namespace heed::inline HEED_ISA
