// SPDX-License-Identifier: Apache-2.0
// modality_mutual_attention: causal attention in which the image also looks ahead at the question.
#pragma once

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/opened_spans.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(q k^T / sqrt(D)) v where query i sees key j if valid_j and (j <= i or (a <= i < b and b <= j < c)): image
/// tokens a .. b - 1 also see the question b .. c - 1.
///
///   heed::ModalityMutualAttention attend;
///   auto y = attend(q, k, v, valid, spans);                 // or attend(device, q, k, v, valid, spans)
///   auto visible = attend.mask(valid, spans);               // (B, N, N), for a look
///
/// q, k, v and the result (B, H, N, D), key heads may be fewer; valid (B, N) uint8, spans (B, 3) int32 of a, b and c;
/// views that must outlive a recording. The rule is two intervals for each query, not a mask: the answer behind the
/// question stays causal, and keys that nothing sees are skipped. A query that sees no key gives zeros. Throws
/// heed::Error for shapes that do not fit. Time of causal attention and of the rectangle. Source: Wang et al. 2025
/// (AKI), the authors' _make_modality_mutual_mask.
struct ModalityMutualAttention {
  template <Operand Q, Operand K, Operand V, TensorLike M, TensorLike S>
  auto operator()(const Q& q, const K& k, const V& v, const M& valid, const S& spans) const {
    return (*this)(DeviceRef(), q, k, v, valid, spans);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike M, TensorLike S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const M& valid, const S& spans) const {
    require(sizes_of(q)[2] == sizes_of(k)[2], "modality_mutual_attention", "q and k must have the same tokens, got ",
            shape_text(sizes_of(q)), " and ", shape_text(sizes_of(k)));
    return softmax_attention(rule(valid, spans))(device, q, k, v);
  }

  /// What the attention sees: (B, N, N), 1 where key j is visible to query i.
  template <TensorLike M, TensorLike S>
  Tensor<std::uint8_t, 3> mask(const M& valid, const S& spans) const {
    const auto sizes = const_view(valid).sizes;
    Tensor<std::uint8_t, 3> visible(sizes[0], sizes[1], sizes[1]);
    dense_mask(rule(valid, spans),
               {.batch = sizes[0], .heads = 1, .kv_heads = 1, .queries = sizes[1], .keys = sizes[1]},
               view(visible).split(0, 1));
    return visible;
  }

 private:
  template <class M, class S>
  static auto rule(const M& valid, const S& spans) {
    return key_mask(valid) && (causal() || opened_spans(spans));
  }
};

}  // namespace heed::inline HEED_ISA
