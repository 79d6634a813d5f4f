// SPDX-License-Identifier: Apache-2.0
// dynamic_mask_attention: a bias per key that also decides which keys are kept.
#pragma once

#include <cmath>
#include <optional>

#include "heed/attention/gathered.hpp"
#include "heed/attention/schedule/key_choice.hpp"
#include "heed/attention/schedule/live_keys.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale q k^T + attn_bias) v over the keys that the bias keeps.
///
///   heed::DynamicMaskAttention attend{{.window_size = 2048, .causal = true}};
///   auto out = attend(q, k, v, attn_bias);                  // or attend(device, q, k, v, attn_bias)
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv), out (B, H, N, Dv); attn_bias (B, Hk, N, M), or (B, Hk, 1, M) for
/// the same of all queries. Allowed are, if causal, the keys j <= i + M - N. Kept are the min(window_size, M) largest
/// biases among the allowed keys of a query (kTopK, all of them where they are fewer), or the allowed ones of positive
/// bias (kRelu). With block_size s > 1 every run of s keys is then kept as a whole where more than half of it was, else
/// dropped, and what is not allowed dropped again. A query that keeps no key gives 0. Ties go to the lower key; the
/// choice has no gradient, the added bias has. A bias that is the same for all queries is the fast case: a key is then
/// kept by one run of queries, and chunks of queries share their keys. Throws heed::Error for shapes and options that
/// do not fit. Time O(B Hk N M) for the choice and O(B H N kept (D + Dv)): no other keys are read. The same bits for
/// any number of threads. Source: Shi et al. 2025, Trainable Dynamic Mask Sparse Attention; mask.py of the authors'
/// flash-dmattn.
struct DynamicMaskAttention {
  struct Options {
    Index window_size = 2048;  ///< keys of a query, 1 or more; of kTopK
    bool causal = true;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
    BiasMask mask_type = BiasMask::kTopK;
    Index block_size = 0;  ///< 0 or 1: no smoothing
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand A>
  auto operator()(const Q& q, const K& k, const V& v, const A& attn_bias) const {
    return (*this)(DeviceRef(), q, k, v, attn_bias);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand A>
  auto operator()(const D& device, const Q& q_like, const K& k_like, const V& v_like, const A& bias_like) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4 && kOperandRank<A> == 4,
                  "heed::DynamicMaskAttention: q, k, v and attn_bias are of rank 4");
    using T = OperandScalar<Q>;
    const auto sizes = sizes_of(q_like);
    check(sizes, sizes_of(k_like), sizes_of(bias_like));
    const auto q = parameter_with(q_like, k_like, v_like, bias_like);
    const auto k = parameter_with(k_like, q_like, v_like, bias_like);
    const auto v = parameter_with(v_like, q_like, k_like, bias_like);
    const auto bias = parameter_with(bias_like, q_like, k_like, v_like);
    const double scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])));
    if (sizes_of(bias)[2] == 1 && options.mask_type == BiasMask::kTopK && options.block_size <= 1)
      return attend_live(device, q, k, v, bias, {.scale = scale});
    const auto lists = keys_by_bias(device, values_of(bias), sizes[2], options.mask_type, options.window_size,
                                    options.block_size, options.causal);
    auto out =
        make_output<T, 4>(kName, {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q_like, k_like, v_like, bias_like);
    if constexpr (AnyRecorded<Q, K, V, A>) {
      gathered_attention(device, q, k, v, const_view(lists), bias, scale, out);
    } else {
      gathered_attention(device, q, k, v, const_view(lists), bias, scale, view(out));
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "dynamic_mask_attention";

  // Of a bias that is the same for all queries, neighbouring queries keep almost the same keys: they are gathered once
  // for a chunk of queries, which then runs over them as the fused kernel does.
  template <class D, class Q, class K, class V, class A>
  auto attend_live(const D& device, const Q& q, const K& k, const V& v, const A& bias_like,
                   const SoftmaxOptions& softmax) const {
    const Index batch = sizes_of(q)[0], heads = sizes_of(q)[1], groups = sizes_of(k)[1], keys = sizes_of(k)[2];
    const LiveKeys live =
        largest_so_far(device, values_of(bias_like).select(2, 0), sizes_of(q)[2], options.window_size, options.causal);
    const Index places = live.key.dimension(2);
    Tensor<std::int32_t, 2> bias_place(batch, heads * places);  // in the biases of all groups
    for (Index i = 0; i < bias_place.size(); ++i) {
      const Index b = i / (heads * places), g = i / places % heads * groups / heads;
      const Index key = live.key(b, g, i % places);
      bias_place.data()[i] = std::int32_t(key < 0 ? -1 : g * keys + key);
    }
    const auto packed = contiguous(device, bias_like);
    const auto all = gather(device, view(packed).merge(1).merge(1).split(1, 1), bias_place);
    const auto biases = view(all).template reshape<4>({batch, heads, 1, places});
    const auto near_k = gather(device, k, live.key);
    const auto near_v = gather(device, v, live.key);
    const auto from = packed_with(live.from, q), until = packed_with(live.until, q);
    const LiveKeysRule rule{{}, const_view(from), const_view(until), live.queries, live.keys};
    return softmax_attention(heed::bias(biases), rule, softmax)(device, q, view(near_k), view(near_v));
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& bias) const {
    require(k[0] == q[0] && k[1] > 0 && q[1] % k[1] == 0 && k[3] == q[3], kName, "k must have shape (B, Hk, M, D) = (",
            q[0], ", Hk, M, ", q[3], ") with Hk dividing H = ", q[1], ", got ", shape_text(k));
    require(bias[0] == k[0] && bias[1] == k[1] && (bias[2] == q[2] || bias[2] == 1) && bias[3] == k[2], kName,
            "attn_bias must have shape (B, Hk, N or 1, M) = (", k[0], ", ", k[1], ", ", q[2], " or 1, ", k[2],
            "), got ", shape_text(bias));
    const bool chooses = options.mask_type == BiasMask::kTopK;
    require(options.window_size >= (chooses ? 1 : 0) && options.block_size >= 0, kName,
            "window_size must be 1 or more and block_size 0 or more, got ", options.window_size, " and ",
            options.block_size);
  }
};

}  // namespace heed::inline HEED_ISA
