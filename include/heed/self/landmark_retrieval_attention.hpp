// SPDX-License-Identifier: Apache-2.0
// landmark_retrieval_attention: each query fetches the past blocks whose landmarks it likes best.
#pragma once

#include "heed/attention/normalizer/landmark_retrieval.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/maximum.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/top_k.hpp"
#include "heed/self/rotary_position_embedding.hpp"

namespace heed::inline HEED_ISA {

/// Which queries choose blocks for themselves.
enum class BlockSelection { kPerTokenAndHead, kMaxOverHeads, kMaxOverTokens };

/// LandmarkAttention to the current section and to the K = min(top_k, R) of R finished blocks that suit a query best.
///
///   heed::LandmarkRetrievalAttention attend{{.top_k = 4, .rope_base = 10000}};
///   auto out = attend(q, k, v, is_landmark, block_k, block_v);        // or attend(device, q, ..)
///
/// q (B, H, N, D), the last N tokens of the section; k (B, H, T, D) and v (B, H, T, Dv), the section; is_landmark (B,
/// T) uint8; block_k (B, H, R, L, D) and block_v (B, H, R, L, Dv), in temporal order, the last token of each its
/// landmark; out (B, H, N, Dv). All float or all double, and none of them rotated. Scale 1 / sqrt(D).
///
/// 1. Positions: block m has slot max(0, m - (R - K) + 1); to choose, its landmark stands at slot L + L - 1. Token t of
/// the
///    section stands at (K + 1) L + t. With rope_base, channels (2c, 2c + 1) turn by position * rope_base^(-2c/D).
/// 2. Scores of blocks: softmax over them of q . landmark / sqrt(D), or the largest of these over the heads or over the
///    queries. Each query and head takes the K best, of equal ones the earlier.
/// 3. In temporal order, the r-th chosen stands at r L, or one block further if its slot is not 0.
/// 4. out is landmark attention over [chosen blocks ; the section up to the query].
///
/// R = 0 is LandmarkAttention on the section. Blocks are constant: no gradient goes to them, and they must outlive a
/// recording; those that no query chose are not read but for their landmark. Throws heed::Error, before anything is
/// written, for shapes and options that do not fit. Time O(R D + (K L + T) (D + Dv)) a query. The same bits for any
/// number of threads.
/// Source: Mohtashami and Jaggi, NeurIPS 2023, section 3.2; epfml/landmark-attention, mem_cache.py.
struct LandmarkRetrievalAttention {
  struct Options {
    Index top_k = 1;
    BlockSelection selection = BlockSelection::kPerTokenAndHead;
    double rope_base = 0;  ///< 0: no rotation
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike M, Operand BK, Operand BV>
  auto operator()(const Q& q, const K& k, const V& v, const M& is_landmark, const BK& block_k,
                  const BV& block_v) const {
    return (*this)(DeviceRef(), q, k, v, is_landmark, block_k, block_v);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike M, Operand BK, Operand BV>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const M& is_landmark, const BK& block_k,
                  const BV& block_v) const {
    using T = OperandScalar<Q>;
    static_assert(kOperandRank<Q> == 4 && kOperandRank<BK> == 5 && Real<T>,
                  "heed::LandmarkRetrievalAttention: q, k and v are (B, H, tokens, D) of float or double, blocks "
                  "(B, H, R, L, D)");
    const auto sizes = sizes_of(q);
    const View<const std::uint8_t, 2> marks = const_view(is_landmark);
    ChosenBlocks<T> blocks;
    blocks.k = values_of(block_k);
    blocks.v = values_of(block_v);
    check(sizes, sizes_of(k), sizes_of(v), marks, blocks);
    const Index chosen = std::min(options.top_k, blocks.k.size(2)), length = blocks.k.size(3), width = sizes[3];
    const double scale = 1 / std::sqrt(double(width));
    auto out = make_output<T, 4>(kName, {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q, k, v);
    const auto attend = [&](const auto& queries, const auto& keys, const View<const T, 4>& landmarks) {
      const auto which = choose(device, values_of(queries), landmarks, chosen, scale);
      blocks.chosen = const_view(which).broadcast({sizes[0], sizes[1], sizes[2], chosen}, kName, "chosen");
      if constexpr (AnyRecorded<Q, K, V>) {
        retrieve_landmark_blocks(device, queries, keys, v, marks, blocks, scale, out);
      } else {
        retrieve_landmark_blocks(device, const_view(queries), const_view(keys), const_view(v), marks, blocks, scale,
                                 view(out));
      }
    };
    const auto landmarks = blocks.k.size(2) > 0 ? blocks.k.select(3, length - 1)
                                                : View<const T, 4>(nullptr, {sizes[0], sizes[1], 0, width});
    if (options.rope_base == 0) {
      attend(q, k, landmarks);
      return out;
    }
    const RotaryPositionEmbedding rope{{.base = options.rope_base, .interleaved = true}};
    const Index tokens = sizes_of(k)[2], first = (chosen + 1) * length;
    const auto own = positions(tokens, [&](Index t) { return first + t; });
    const auto slots = positions(blocks.k.size(2), [&](Index m) {
      return std::max<Index>(0, m - (blocks.k.size(2) - chosen) + 1) * length + length - 1;
    });
    const auto table = rope.table<T>(width, first);
    blocks.cos = const_view(table.cos);
    blocks.sin = const_view(table.sin);
    const auto rotated = rope(device, landmarks, slots);
    attend(rope(device, q, const_view(own).slice(0, tokens - sizes[2], sizes[2])), rope(device, k, own),
           const_view(rotated));
    return out;
  }

 private:
  static constexpr std::string_view kName = "landmark_retrieval_attention";

  template <class F>
  static Tensor<std::int32_t, 1> positions(Index count, const F& f) {
    Tensor<std::int32_t, 1> result(count);
    for (Index i = 0; i < count; ++i) result(i) = std::int32_t(f(i));
    return result;
  }

  template <class D, class T>
  Tensor<std::int32_t, 4> choose(const D& device, const View<const T, 4>& q, const View<const T, 4>& landmarks,
                                 Index count, double scale) const {
    const auto dots = heed::scale(device, matmul(device, q, landmarks.permute({0, 1, 3, 2})), scale);
    const auto shares = softmax(device, dots);
    const auto best = [&](const auto& scores) { return top_k(device, scores, count, TopKOrder::kIndex).indices; };
    if (shares.size() == 0 || options.selection == BlockSelection::kPerTokenAndHead) return best(shares);
    if (options.selection == BlockSelection::kMaxOverHeads) return best(max(device, shares, {1}));
    return best(max(device, shares, {2}));
  }

  template <class T>
  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const View<const std::uint8_t, 2>& marks, const ChosenBlocks<T>& blocks) const {
    require(k[0] == q[0] && k[1] == q[1] && k[2] >= q[2] && k[3] == q[3], kName, "k must have shape (B, H, T, D) = (",
            q[0], ", ", q[1], ", T, ", q[3], ") with T from N = ", q[2], " on, got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], kName, "v must have shape (B, H, T, Dv) = (", k[0], ", ",
            k[1], ", ", k[2], ", Dv), got ", shape_text(v));
    const std::array<Index, 2> expected{k[0], k[2]};
    require(marks.sizes == expected, kName, "is_landmark must have shape (B, T) = ", shape_text(expected), ", got ",
            shape_text(marks.sizes));
    const auto& bk = blocks.k.sizes;
    require(bk[2] == 0 || (bk[0] == q[0] && bk[1] == q[1] && bk[3] > 0 && bk[4] == q[3]), kName,
            "block_k must have shape (B, H, R, L, D) = (", q[0], ", ", q[1], ", R, L, ", q[3], "), got ",
            shape_text(bk));
    const std::array<Index, 5> values{bk[0], bk[1], bk[2], bk[3], v[3]};
    require(bk[2] == 0 || blocks.v.sizes == values, kName,
            "block_v must have shape (B, H, R, L, Dv) = ", shape_text(values), ", got ", shape_text(blocks.v.sizes));
    require(options.top_k >= 0, kName, "top_k must be 0 or more, got ", options.top_k);
    require(std::isfinite(options.rope_base) && options.rope_base >= 0, kName,
            "rope_base must be 0 or positive and finite, got ", options.rope_base);
    require(options.rope_base == 0 || q[3] % 2 == 0, kName, "D must be even where rope_base rotates pairs, got ", q[3]);
  }
};

}  // namespace heed::inline HEED_ISA
