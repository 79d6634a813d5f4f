// SPDX-License-Identifier: Apache-2.0
// The softmax of a row, its log-sum-exp, and their gradients.
#pragma once

#include <cmath>

#include "heed/kernel/row_access.hpp"
#include "heed/kernel/softmax.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

template <Real T>
inline constexpr T kNone = -std::numeric_limits<T>::infinity();

/// The largest of a row, -infinity for an empty one; NaN is passed over.
template <Real T>
HEED_INLINE T row_max(const T* x, Index width) {
  constexpr Index w = simd::kLanes<T>;
  using simd::Batch;
  Batch<T> most(kNone<T>);
  Index i = 0;
  for (; i + w <= width; i += w) {
    const Batch<T> v = simd::load(x + i);
    most = simd::select(v > most, v, most);
  }
  T result = simd::reduce_max<T>(most);
  for (; i < width; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

/// The sum of e^(x - shift) over a row, with `shift` finite and no smaller than any of it; each stored where `out` is
/// not null.
template <bool kStore, Real T>
HEED_INLINE T sum_exponentials(const T* x, Index width, T shift, T* out) {
  using simd::Batch;
  constexpr Index w = simd::kLanes<T>;
  const Batch<T> m(shift), log2_e(kLog2E<T>);
  Batch<T> sum(T(0));
  Index i = 0;
  for (; i + w <= width; i += w) {
    const Batch<T> p = simd::exp2_nonpositive((simd::load(x + i) - m) * log2_e);
    sum = sum + p;
    if constexpr (kStore) p.store_unaligned(out + i);
  }
  T result = simd::reduce_add<T>(sum);
  if (i < width) {
    alignas(64) T lanes[w];
    simd::exp2_nonpositive((simd::load_partial<T>(x + i, width - i) - m) * log2_e).store_aligned(lanes);
    for (Index j = 0; j < width - i; ++j) {
      result += lanes[j];
      if constexpr (kStore) out[i + j] = lanes[j];
    }
  }
  return result;
}

}  // namespace detail

/// The sum of e^x over a row, as sum * e^most: the two apart, because their logarithms' sum rounds as coarsely as the
/// largest of the row.
template <Real T>
struct ExponentialSum {
  T most = detail::kNone<T>, sum = 0;
};

/// In one pass over memory: pieces that stay in the first-level cache bring their own maximum. NaN for a row with NaN
/// or +infinity, 0 for one of -infinity alone.
template <Real T>
HEED_NOINLINE ExponentialSum<T> exponential_sum(const T* x, Index width) {
  constexpr Index kPiece = 1024;
  ExponentialSum<T> total;
  for (Index first = 0; first < width; first += kPiece) {
    const Index count = std::min(kPiece, width - first);
    const T here = detail::row_max(x + first, count);
    if (here > total.most) {
      total.sum *= std::exp(total.most - here);
      total.most = here;
    }
    // Nothing but -infinity and NaN so far: a shift of 0 keeps both what they are.
    const T shift = total.most == detail::kNone<T> ? T(0) : total.most;
    total.sum += detail::sum_exponentials<false, T>(x + first, count, shift, nullptr);
  }
  return total;
}

/// out = e^x / sum of e^x; 0 for a row of -infinity. out may be x.
template <Real T>
HEED_NOINLINE void softmax_row(const T* x, Index width, T* out) {
  const T most = detail::row_max(x, width);
  const T sum = detail::sum_exponentials<true, T>(x, width, most == detail::kNone<T> ? T(0) : most, out);
  if (sum == 0) return;
  const simd::Batch<T> factor(T(1) / sum);
  for_lanes<T>(width, [&](Index i, auto lanes) {
    simd::store_partial<T>(load_lanes<T>(out + i, lanes) * factor, out + i, lanes);
  });
}

/// d_x += p * (d_out - sum of p * d_out), with p the softmax of the row.
template <Real T>
HEED_NOINLINE void softmax_row_backward(const T* p, const T* d_out, Index width, T* d_x) {
  using simd::Batch;
  Batch<T> along(T(0));
  for_lanes<T>(width, [&](Index i, auto lanes) {
    along = simd::fma(load_lanes<T>(p + i, lanes), load_lanes<T>(d_out + i, lanes), along);
  });
  const Batch<T> common(simd::reduce_add<T>(along));
  for_lanes<T>(width, [&](Index i, auto lanes) {
    const Batch<T> d = load_lanes<T>(d_out + i, lanes) - common;
    simd::store_partial<T>(simd::fma(load_lanes<T>(p + i, lanes), d, load_lanes<T>(d_x + i, lanes)), d_x + i, lanes);
  });
}

/// d_x += factor * e^x / total: the gradient of the logarithm of the sum.
template <Real T>
HEED_NOINLINE void log_sum_backward(const T* x, Index width, const ExponentialSum<T>& total, T factor, T* d_x) {
  using simd::Batch;
  const Batch<T> most(total.most), log2_e(kLog2E<T>), weight(factor / total.sum);
  for_lanes<T>(width, [&](Index i, auto lanes) {
    const Batch<T> p = simd::exp2_nonpositive((load_lanes<T>(x + i, lanes) - most) * log2_e);
    simd::store_partial<T>(simd::fma(p, weight, load_lanes<T>(d_x + i, lanes)), d_x + i, lanes);
  });
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
