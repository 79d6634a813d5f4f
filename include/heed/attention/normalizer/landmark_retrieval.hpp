// SPDX-License-Identifier: Apache-2.0
// Attention with the landmark softmax to a section of tokens and to blocks that each query has chosen.
#pragma once

#include "heed/block/rotary.hpp"
#include "heed/kernel/landmark_softmax.hpp"
#include "heed/kernel/triangle_product.hpp"

namespace heed::inline HEED_ISA {

/// Finished blocks of L tokens, the last of which is their landmark, and which of them each query reads.
template <Real T>
struct ChosenBlocks {
  View<const T, 5> k = {};                  ///< (B, H, R, L, D)
  View<const T, 5> v = {};                  ///< (B, H, R, L, Dv)
  View<const std::int32_t, 4> chosen = {};  ///< (B, H, N, K), ascending
  View<const T, 2> cos = {}, sin = {};      ///< of positions 0 .. (K + 1) L - 1, or of null data for no rotation

  Index tokens() const { return chosen.size(3) * k.size(3); }
};

namespace detail {

/// One query: its keys gathered and rotated, its scores, and which of them are landmarks.
template <Real T>
struct RetrievalRow {
  const ChosenBlocks<T>& blocks;
  Index b, h, i, gathered, count;
  T* keys;              // (gathered, D)
  T* scores;            // (count)
  std::uint8_t* marks;  // (count)

  /// The block of a rank. A query of NaN has chosen none: it reads the first one, and its result is NaN.
  Index block(Index rank) const { return std::max<Index>(0, blocks.chosen(b, h, i, rank)); }
  /// The value of a gathered key.
  const T* value(Index key) const {
    const Index length = blocks.k.size(3);
    return blocks.v.at(b, h, block(key / length), key % length);
  }

  RetrievalRow(ScratchFrame& frame, const ChosenBlocks<T>& from, Index batch, Index head, Index query, Index own)
      : blocks(from), b(batch), h(head), i(query), gathered(from.tokens()), count(gathered + own) {
    const Index width = blocks.k.size(4), length = blocks.k.size(3), chosen = blocks.chosen.size(3);
    keys = frame.take<T>(gathered * width);
    scores = frame.take<T>(count);
    marks = frame.take<std::uint8_t>(count);
    const RotaryRows<T> angles{blocks.cos.data, blocks.sin.data, width / 2};
    for (Index rank = 0; rank < chosen; ++rank) {
      const Index which = block(rank);
      // The newest blocks stand one place further than their rank: a place is left for what was not chosen before them.
      const Index start = (rank + (which >= blocks.k.size(2) - chosen ? 1 : 0)) * length;
      for (Index t = 0; t < length; ++t) {
        const T* const from_row = blocks.k.at(b, h, which, t);
        T* const to = keys + (rank * length + t) * width;
        if (angles.cos) {
          rotate_row<T>(from_row, blocks.k.stride(4), width, angles, start + t, true, T(1), to, 1);
        } else {
          kernel::copy_rows<T>(from_row, 0, blocks.k.stride(4), 1, width, to, 0);
        }
        marks[rank * length + t] = t + 1 == length;
      }
    }
  }
};

template <Real T>
T dot(const T* a, Index a_stride, const T* x, Index x_stride, Index count) {
  simd::Batch<T> sum(T(0));
  for (Index c = 0; c < count; c += simd::kLanes<T>)
    sum = simd::fma(simd::load_strided<T>(a + c * a_stride, a_stride, count - c),
                    simd::load_strided<T>(x + c * x_stride, x_stride, count - c), sum);
  return simd::reduce_add<T>(sum);
}

// f(row) for each query, with its scores: of the gathered keys, then of the section up to itself.
template <Real T, class F>
void for_each_retrieval(const View<const T, 4>& q, const View<const T, 4>& k,
                        const View<const std::uint8_t, 2>& is_landmark, const ChosenBlocks<T>& blocks, double scale,
                        Index b, Index h, const F& f) {
  const Index queries = q.size(2), width = q.size(3), before = k.size(2) - queries;
  for (Index i = 0; i < queries; ++i) {
    ScratchFrame frame;
    const RetrievalRow<T> row(frame, blocks, b, h, i, before + i + 1);
    for (Index j = 0; j < row.count; ++j) {
      const bool old = j < row.gathered;
      const T* const key = old ? row.keys + j * width : k.at(b, h, j - row.gathered);
      row.scores[j] = T(scale) * dot(q.at(b, h, i), q.stride(3), key, old ? 1 : k.stride(3), width);
      if (!old) row.marks[j] = is_landmark(b, j - row.gathered);
    }
    f(row);
  }
}

}  // namespace detail

/// For each query the weights of kernel::landmark_softmax_row over [its chosen blocks ; the section up to itself],
/// times their values. q (B, H, N, D) stands at the end of the section, k (B, H, T, D) and v (B, H, T, Dv); all rotated
/// but the blocks, which are rotated where they are read; out (B, H, N, Dv). No other block is read. Time O(K L + T) (D
/// + Dv) a query. The same bits for any number of threads.
///
/// Gradient: of q, k and v, retrieve_landmark_blocks_backward; the blocks are constant.
template <Device D, Real T>
void retrieve_landmark_blocks(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                              const View<const T, 4>& v, const View<const std::uint8_t, 2>& is_landmark,
                              const ChosenBlocks<T>& blocks, double scale, const View<T, 4>& out) {
  parallel_for(device, q.size(0) * q.size(1), [&](Index unit) {
    const Index b = unit / q.size(1), h = unit % q.size(1), width = v.size(3);
    detail::for_each_retrieval(q, k, is_landmark, blocks, scale, b, h, [&](const auto& row) {
      kernel::landmark_softmax_row(row.scores, row.marks, 1, row.count);
      T* const to = out.at(b, h, row.i);
      for (Index c = 0; c < width; ++c) to[c * out.stride(3)] = 0;
      for (Index j = 0; j < row.count; ++j) {
        const bool old = j < row.gathered;
        if (row.marks[j]) continue;
        kernel::add_multiple(row.scores[j], old ? row.value(j) : v.at(b, h, j - row.gathered),
                             old ? blocks.v.stride(4) : v.stride(3), width, to, out.stride(3));
      }
    });
  });
}

/// The gradients of retrieve_landmark_blocks, added; one of null data is not wanted.
template <Device D, Real T>
void retrieve_landmark_blocks_backward(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                                       const View<const T, 4>& v, const View<const std::uint8_t, 2>& is_landmark,
                                       const ChosenBlocks<T>& blocks, double scale, const View<const T, 4>& d_out,
                                       const View<T, 4>& d_q, const View<T, 4>& d_k, const View<T, 4>& d_v) {
  parallel_for(device, q.size(0) * q.size(1), [&](Index unit) {
    const Index b = unit / q.size(1), h = unit % q.size(1), width = q.size(3), value_width = v.size(3);
    detail::for_each_retrieval(q, k, is_landmark, blocks, scale, b, h, [&](const auto& row) {
      ScratchFrame frame;
      T* const d = frame.take<T>(row.count);
      T* const weights = frame.take<T>(row.count);
      const T* const d_row = d_out.at(b, h, row.i);
      std::copy_n(row.scores, row.count, weights);
      kernel::landmark_softmax_row(weights, row.marks, 1, row.count);
      for (Index j = 0; j < row.count; ++j) {
        const bool old = j < row.gathered;
        d[j] = row.marks[j] ? T(0)
                            : detail::dot(d_row, d_out.stride(3), old ? row.value(j) : v.at(b, h, j - row.gathered),
                                          old ? blocks.v.stride(4) : v.stride(3), value_width);
        if (!old && d_v.data && !row.marks[j])
          kernel::add_multiple(weights[j], d_row, d_out.stride(3), value_width, d_v.at(b, h, j - row.gathered),
                               d_v.stride(3));
      }
      kernel::landmark_softmax_row_backward(row.scores, row.marks, 1, row.count, d);
      for (Index j = 0; j < row.count; ++j) {
        const bool old = j < row.gathered;
        const T by = T(scale) * d[j];
        if (d_q.data)
          kernel::add_multiple(by, old ? row.keys + j * width : k.at(b, h, j - row.gathered), old ? 1 : k.stride(3),
                               width, d_q.at(b, h, row.i), d_q.stride(3));
        if (!old && d_k.data)
          kernel::add_multiple(by, q.at(b, h, row.i), q.stride(3), width, d_k.at(b, h, j - row.gathered),
                               d_k.stride(3));
      }
    });
  });
}

}  // namespace heed::inline HEED_ISA
