// SPDX-License-Identifier: Apache-2.0
// landmark_softmax_attention: causal attention whose softmax has two levels.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/landmark_softmax.hpp"
#include "heed/kernel/triangle_product.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr Index kLandmarkRows = 64;  // queries whose scores are held at a time

template <class Q, class K, class V>
void check_landmark_attention(const Q& q, const K& k, const V& v, const View<const std::uint8_t, 2>& is_landmark,
                              double scale) {
  constexpr std::string_view name = "landmark_attention";
  require(k == q, name, "k must have shape (B, H, N, D) = ", shape_text(q), ", got ", shape_text(k));
  require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], name, "v must have shape (B, H, N, Dv) = (", k[0], ", ", k[1],
          ", ", k[2], ", Dv), got ", shape_text(v));
  const std::array<Index, 2> expected{q[0], q[2]};
  require(is_landmark.sizes == expected, name, "is_landmark must have shape (B, N) = ", shape_text(expected), ", got ",
          shape_text(is_landmark.sizes));
  require(std::isfinite(scale), name, "scale must be finite, got ", scale);
}

}  // namespace detail

/// out_i = sum over j <= i of w_ij v_j, with the weights of kernel::landmark_softmax_row over scale * q_i . k_j: what a
/// query gives to a landmark goes to the keys of the block that the landmark closes.
///
/// q, k (B, H, N, D), v and out (B, H, N, Dv), of any strides, all float or all double; is_landmark (B, N). Key j > i
/// never changes out_i. Throws heed::Error for shapes that do not fit. Time O(B H N^2 (D + Dv)), with the scores of 64
/// queries as a thread's memory. The same bits for any number of threads.
///
/// Gradient: of q, k and v, landmark_softmax_attention_backward, which computes the weights again.
template <Device D, Real T>
void landmark_softmax_attention(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                                const View<const T, 4>& v, const View<const std::uint8_t, 2>& is_landmark, double scale,
                                const View<T, 4>& out) {
  const Index heads = q.size(1), n = q.size(2), bands = (n + detail::kLandmarkRows - 1) / detail::kLandmarkRows;
  parallel_for(device, q.size(0) * heads * bands, [&](Index unit) {
    const Index b = unit / bands / heads, h = unit / bands % heads, row = unit % bands * detail::kLandmarkRows;
    const Index count = std::min(detail::kLandmarkRows, n - row), keys = row + count;
    const DeviceRef here;
    ScratchFrame frame;
    const View<T, 2> w(frame.take<T>(count * keys), {count, keys});
    const auto rows = [&](const auto& x, Index first, Index length) {
      return x.select(0, b).select(0, h).slice(0, first, length);
    };
    kernel::gemm(here, rows(q, row, count), rows(k, 0, keys), View<const T, 1>(), w);
    for (Index i = 0; i < count; ++i) {
      T* const s = w.at(i);
      for (Index j = 0; j <= row + i; ++j) s[j] *= T(scale);
      kernel::landmark_softmax_row(s, is_landmark.at(b), is_landmark.stride(1), row + i + 1);
      for (Index c = 0; c < out.size(3); ++c) out(b, h, row + i, c) = 0;
    }
    const View<T, 2> target = rows(out, row, count);
    kernel::add_product<T>(here, w.slice(1, 0, row), rows(v, 0, row), target);
    kernel::add_triangle<false, T>(here, w.slice(1, row, count), rows(v, row, count), target);
  });
}

/// The gradients of landmark_softmax_attention, added; one of null data is not wanted.
template <Device D, Real T>
void landmark_softmax_attention_backward(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                                         const View<const T, 4>& v, const View<const std::uint8_t, 2>& is_landmark,
                                         double scale, const View<const T, 4>& d_out, const View<T, 4>& d_q,
                                         const View<T, 4>& d_k, const View<T, 4>& d_v) {
  const Index heads = q.size(1), n = q.size(2);
  parallel_for(device, q.size(0) * heads, [&](Index unit) {
    const Index b = unit / heads, h = unit % heads;
    const DeviceRef here;
    ScratchFrame frame;
    T* const w_memory = frame.take<T>(detail::kLandmarkRows * n);
    T* const d_memory = frame.take<T>(detail::kLandmarkRows * n);
    for (Index row = 0; row < n; row += detail::kLandmarkRows) {
      const Index count = std::min(detail::kLandmarkRows, n - row), keys = row + count;
      const View<T, 2> w(w_memory, {count, keys}), d(d_memory, {count, keys});
      const auto rows = [&](const auto& x, Index first, Index length) {
        return x.select(0, b).select(0, h).slice(0, first, length);
      };
      // sum, of all keys so far, += x^T y.
      const auto add_to_keys = [&](const View<T, 2>& x, const View<const T, 2>& y, const View<T, 4>& sum) {
        const View<const T, 2> across = x.permute({1, 0});
        if (row > 0) kernel::add_product<T>(here, across.slice(0, 0, row), y, rows(sum, 0, row));
        kernel::add_triangle<true, T>(here, across.slice(0, row, count), y, rows(sum, row, count));
      };
      const auto scores = [&] {
        kernel::gemm(here, rows(q, row, count), rows(k, 0, keys), View<const T, 1>(), w);
        for (Index i = 0; i < w.count(); ++i) w.data[i] *= T(scale);
      };
      scores();
      if (d_v.data) {
        for (Index i = 0; i < count; ++i)
          kernel::landmark_softmax_row(w.at(i), is_landmark.at(b), is_landmark.stride(1), row + i + 1);
        add_to_keys(w, rows(d_out, row, count), d_v);
        scores();
      }
      kernel::gemm(here, rows(d_out, row, count), rows(v, 0, keys), View<const T, 1>(), d);
      for (Index i = 0; i < count; ++i) {
        kernel::landmark_softmax_row_backward(w.at(i), is_landmark.at(b), is_landmark.stride(1), row + i + 1, d.at(i));
        for (Index j = 0; j <= row + i; ++j) d(i, j) *= T(scale);
      }
      if (d_q.data) {
        kernel::add_product<T>(here, d.slice(1, 0, row), rows(k, 0, row), rows(d_q, row, count));
        kernel::add_triangle<false, T>(here, d.slice(1, row, count), rows(k, row, count), rows(d_q, row, count));
      }
      if (d_k.data) add_to_keys(d, rows(q, row, count), d_k);
    }
  });
}

}  // namespace heed::inline HEED_ISA
