// SPDX-License-Identifier: Apache-2.0
// landmark_attention: causal attention to blocks through their landmarks, in the form that is trained.
#pragma once

#include <optional>

#include "heed/attention/normalizer/landmark.hpp"

namespace heed::inline HEED_ISA {

/// Causal attention in which a block of tokens, closed by a landmark token, gets what the query gives to its landmark.
///
///   heed::LandmarkAttention attend;
///   auto out = attend(q, k, v, is_landmark);                // or attend(device, q, k, v, is_landmark)
///
/// q, k (B, H, N, D), v and out (B, H, N, Dv), all float or all double; is_landmark (B, N) uint8, not 0 for landmarks,
/// anywhere and different for each batch. For query i, with s_j = scale q_i . k_j and j <= i:
///
/// 1. The own block is what stands behind the last landmark before i, up to i, without i if that is a landmark. Earlier
///    landmarks close earlier blocks: the tokens between them.
/// 2. p = softmax of s over the own block and the earlier landmarks; r = softmax of s within each earlier block.
/// 3. The weight of key j is p_j in the own block, p of its block's landmark times r_j in an earlier one, and 0 for a
///    landmark. out = sum of weight times v. What the landmark of an empty block gets is lost.
///
/// A query for which step 2 has no key (a landmark at position 0) gives 0. Without landmarks this is causal attention.
/// A later key or value never changes a result. Throws heed::Error, before anything is written, for shapes that do not
/// fit. Time O(B H N^2 (D + Dv)); no N x N memory. The same bits for any number of threads.
/// Source: Mohtashami and Jaggi, NeurIPS 2023, eq. 1-3; epfml/landmark-attention, without its limit on the number of
/// blocks.
struct LandmarkAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const Q& q, const K& k, const V& v, const M& is_landmark) const {
    return (*this)(DeviceRef(), q, k, v, is_landmark);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike M>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const M& is_landmark) const {
    using T = OperandScalar<Q>;
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4 && kRankOf<M> == 2,
                  "heed::LandmarkAttention: q, k and v are (B, H, N, D), is_landmark (B, N)");
    static_assert(Real<T> && std::same_as<T, OperandScalar<K>> && std::same_as<T, OperandScalar<V>> &&
                      std::same_as<ScalarOf<M>, std::uint8_t>,
                  "heed::LandmarkAttention: q, k and v are all float or all double, is_landmark std::uint8_t");
    const auto sizes = sizes_of(q);
    const View<const std::uint8_t, 2> marks = const_view(is_landmark);
    const double scale = options.scale.value_or(1 / std::sqrt(double(sizes[3])));
    detail::check_landmark_attention(sizes, sizes_of(k), sizes_of(v), marks, scale);
    auto out = make_output<T, 4>("landmark_attention", {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q, k, v);
    if constexpr (AnyRecorded<Q, K, V>) {
      landmark_softmax_attention(device, q, k, v, marks, scale, out);
    } else {
      landmark_softmax_attention(device, const_view(q), const_view(k), const_view(v), marks, scale, view(out));
    }
    return out;
  }
};

}  // namespace heed::inline HEED_ISA
