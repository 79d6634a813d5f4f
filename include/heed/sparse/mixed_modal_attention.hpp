// SPDX-License-Identifier: Apache-2.0
// mixed_modal_attention: vision sees all of itself, text what came before.
#pragma once

#include "heed/attention/mask/segments.hpp"
#include "heed/attention/mask/standard.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale q k^T) v, where query i sees key j if j <= i or both tokens are visual; or, given the length of a
/// prefix instead of a mask, if j <= i or j < prefix_len(b).
///
///   heed::MixedModalAttention attend;
///   auto out = attend(q, k, v, visual_mask);                // or attend(device, q, k, v, prefix_len)
///
/// q, k (B, H, N, D), k of as many heads or a divisor, v and out (B, H, N, Dv); visual_mask (B, N) of std::uint8_t, the
/// paper's mask; prefix_len (B) int32, the released code's, the part before the first supervised token. Several images
/// of a sequence all see each other: restrict them by softmax_attention's own rules where that is not wanted. Errors,
/// cost and threads as softmax_attention. Source: Xie et al. 2024 (Croc); the visual form is a transcription.
struct MixedModalAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const Q& q, const K& k, const V& v, const M& mask_or_length) const {
    return (*this)(DeviceRef(), q, k, v, mask_or_length);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const M& mask_or_length) const {
    const auto given = const_view(mask_or_length);
    const SoftmaxOptions common{.scale = options.scale};
    require(sizes_of(k)[2] == sizes_of(q)[2], "mixed_modal_attention", "k must have the N = ", sizes_of(q)[2],
            " tokens of q, got ", sizes_of(k)[2]);
    if constexpr (std::same_as<ScalarOf<M>, std::uint8_t>) {
      static_assert(kRankOf<M> == 2, "heed::MixedModalAttention: visual_mask is (B, N)");
      // Equal ids see each other: visual ones, but no text.
      const auto ids = [&](std::int32_t text) {
        Tensor<std::int32_t, 2> id(given.size(0), given.size(1));
        for (Index b = 0; b < given.size(0); ++b)
          for (Index n = 0; n < given.size(1); ++n) id(b, n) = given(b, n) != 0 ? 0 : text;
        return packed_with(id, q, k, v);
      };
      const auto of_queries = ids(1), of_keys = ids(2);
      return softmax_attention(causal(0) || segments(of_queries, of_keys), common)(device, q, k, v);
    } else {
      static_assert(kRankOf<M> == 1 && std::same_as<ScalarOf<M>, std::int32_t>,
                    "heed::MixedModalAttention: visual_mask is (B, N) of std::uint8_t, prefix_len (B) of std::int32_t");
      const auto lengths = packed_with(given, q, k, v);
      return softmax_attention(causal(0) || prefix(lengths), common)(device, q, k, v);
    }
  }
};

}  // namespace heed::inline HEED_ISA
