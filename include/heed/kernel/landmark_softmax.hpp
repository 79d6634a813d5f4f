// SPDX-License-Identifier: Apache-2.0
// The softmax of a row in two levels: over landmarks and the own block, then within the blocks behind the landmarks.
#pragma once

#include <cstdint>

#include "heed/kernel/softmax_rows.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// What a row of `count` keys, of which the last is the query's own, is made of. f(first, landmark) is called for each
/// block of earlier keys [first, landmark) that a landmark closes. Returns where the own block begins.
template <class F>
Index for_landmark_blocks(const std::uint8_t* is_landmark, Index stride, Index count, const F& f) {
  Index first = 0;
  for (Index j = 0; j + 1 < count; ++j)
    if (is_landmark[j * stride]) {
      f(first, j);
      first = j + 1;
    }
  return first;
}

/// The keys of the own block that count: all, without the query itself where that is a landmark.
inline Index own_keys(const std::uint8_t* is_landmark, Index stride, Index count, Index first) {
  return count - first - Index(is_landmark[(count - 1) * stride] != 0);
}

/// The upper softmax, over the own block and the landmarks, in place.
template <Real T>
void top_softmax(T* s, const std::uint8_t* is_landmark, Index stride, Index count) {
  T most = -std::numeric_limits<T>::infinity(), sum = 0;
  const auto each = [&](const auto& f) {
    const Index first = for_landmark_blocks(is_landmark, stride, count, [&](Index, Index mark) { f(s[mark]); });
    const Index own = own_keys(is_landmark, stride, count, first);
    for (Index j = first; j < first + own; ++j) f(s[j]);
    if (first + own < count) s[count - 1] = 0;
  };
  each([&](T& x) { most = x > most ? x : most; });
  if (most == -std::numeric_limits<T>::infinity()) most = 0;
  each([&](T& x) {
    x = std::exp(x - most);
    sum += x;
  });
  const T by = sum > 0 ? 1 / sum : T(0);
  each([&](T& x) { x *= by; });
}

}  // namespace detail

/// The weights of a row of scores, in place: softmax over the own block and the landmarks, whose shares go to the keys
/// of their blocks by a softmax within each. Landmarks have the weight 0; that of an empty block is lost.
template <Real T>
void landmark_softmax_row(T* s, const std::uint8_t* is_landmark, Index stride, Index count) {
  detail::top_softmax(s, is_landmark, stride, count);
  detail::for_landmark_blocks(is_landmark, stride, count, [&](Index first, Index mark) {
    softmax_row(s + first, mark - first, s + first);
    for (Index j = first; j < mark; ++j) s[j] *= s[mark];
    s[mark] = 0;
  });
}

/// The gradients of the scores from those of the weights, in place of these; the scores in s are lost.
template <Real T>
void landmark_softmax_row_backward(T* s, const std::uint8_t* is_landmark, Index stride, Index count, T* d) {
  detail::top_softmax(s, is_landmark, stride, count);
  double common = 0;
  Index first = detail::for_landmark_blocks(is_landmark, stride, count, [&](Index begin, Index mark) {
    softmax_row(s + begin, mark - begin, s + begin);
    T mean = 0;
    for (Index j = begin; j < mark; ++j) mean += s[j] * d[j];
    for (Index j = begin; j < mark; ++j) d[j] = s[mark] * s[j] * (d[j] - mean);
    d[mark] = mean;
    common += double(s[mark]) * double(mean);
  });
  const Index own = detail::own_keys(is_landmark, stride, count, first);
  for (Index j = first; j < first + own; ++j) common += double(s[j]) * double(d[j]);
  detail::for_landmark_blocks(is_landmark, stride, count,
                              [&](Index, Index mark) { d[mark] = s[mark] * (d[mark] - T(common)); });
  for (Index j = first; j < first + own; ++j) d[j] = s[j] * (d[j] - T(common));
  if (first + own < count) d[count - 1] = 0;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
