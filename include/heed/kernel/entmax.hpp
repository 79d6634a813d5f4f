// SPDX-License-Identifier: Apache-2.0
// The alpha-entmax of a row, and its gradients.
#pragma once

#include "heed/kernel/softmax_rows.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

// d^p and its derivative for d > 0, with p = 1 / (alpha - 1).
struct FirstPower {
  static constexpr bool kConvex = true;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> d) const {
    return d;
  }
  template <Real T>
  simd::Batch<T> slope(simd::Batch<T>, simd::Batch<T>) const {
    return simd::Batch<T>(T(1));
  }
};
struct SecondPower {
  static constexpr bool kConvex = true;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> d) const {
    return d * d;
  }
  template <Real T>
  simd::Batch<T> slope(simd::Batch<T> d, simd::Batch<T>) const {
    return d + d;
  }
};
struct AnyPower {
  static constexpr bool kConvex = false;
  double power;
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> d) const {
    return simd::exp<T>(simd::Batch<T>(T(power)) * simd::log<T>(d));
  }
  template <Real T>
  simd::Batch<T> slope(simd::Batch<T> d, simd::Batch<T> value) const {
    return simd::Batch<T>(T(power)) * value / d;
  }
};

template <Real T>
struct PowerSum {
  T value, slope;
};

/// The sum of f(u_j - tau) over the elements above tau, and minus its derivative by tau. NaN counts.
template <class F, Real T>
PowerSum<T> power_sum(const F& f, const T* u, Index width, T tau) {
  using simd::Batch;
  const Batch<T> zero(T(0)), one(T(1)), threshold(tau), none(kNone<T>);
  Batch<T> value = zero, slope = zero;
  const auto add = [&](Batch<T> x) {
    const Batch<T> d = x - threshold;
    const auto out = d <= zero;
    const Batch<T> at = simd::select(out, one, d);
    const Batch<T> power = f.template value<T>(at);
    value = value + simd::select(out, zero, power);
    slope = slope + simd::select(out, zero, f.template slope<T>(at, power));
  };
  constexpr Index w = simd::kLanes<T>;
  Index i = 0;
  for (; i + w <= width; i += w) add(simd::load(u + i));
  if (i < width) {
    alignas(64) T lanes[w];
    none.store_aligned(lanes);
    std::copy_n(u + i, width - i, lanes);
    add(simd::load_aligned(lanes));
  }
  return {simd::reduce_add<T>(value), simd::reduce_add<T>(slope)};
}

/// tau with the sum of f(u_j - tau) = 1, for u with the largest element 0: Newton's steps from -1, where the sum is 1
/// or more. They stay below the root where f is convex, and then end in a handful of passes; elsewhere `high`, where
/// the sum is 1 or less, and halving keep them in.
template <class F, Real T>
T entmax_threshold(const F& f, const T* u, Index width, T high) {
  constexpr T eps = std::numeric_limits<T>::epsilon();
  T low = T(-1), tau = low;
  for (int pass = 0; pass < 1000; ++pass) {
    const PowerSum<T> sum = power_sum(f, u, width, tau);
    const T over = sum.value - T(1);
    if (over != over) return over;  // NaN, which then reaches the whole row
    if (std::abs(over) <= eps) break;
    (over > 0 ? low : high) = tau;
    T next = tau + over / sum.slope;
    if constexpr (F::kConvex) {
      if (!(next > tau)) break;
    } else {
      if (high - low <= eps * (std::abs(low) + std::numeric_limits<T>::min())) break;
      if (!(next > low && next < high)) next = low + (high - low) / 2;
      if (next == tau) break;
    }
    tau = next;
  }
  return tau;
}

template <class F, Real T>
void entmax_of_power(const F& f, double factor, const T* x, Index width, T* out) {
  using simd::Batch;
  const T most = row_max(x, width);
  if (most == kNone<T>) {  // nothing but -infinity, and NaN
    for (Index i = 0; i < width; ++i) out[i] = x[i] == x[i] ? T(0) : x[i];
    return;
  }
  const Batch<T> shift(most), by = Batch<T>(T(factor));
  for_lanes<T>(width, [&](Index i, auto lanes) {
    simd::store_partial<T>((load_lanes<T>(x + i, lanes) - shift) * by, out + i, lanes);
  });
  const T tau = entmax_threshold(f, out, width, -T(std::pow(double(width), -factor)));
  const Batch<T> zero(T(0)), one(T(1)), threshold(tau), total(power_sum(f, out, width, tau).value);
  for_lanes<T>(width, [&](Index i, auto lanes) {
    const Batch<T> d = load_lanes<T>(out + i, lanes) - threshold;
    const auto outside = d <= zero;
    const Batch<T> y = f.template value<T>(simd::select(outside, one, d)) / total;
    simd::store_partial<T>(simd::select(outside, zero, y), out + i, lanes);
  });
}

}  // namespace detail

/// out = alpha-entmax of a row: max(0, (alpha - 1) x - tau)^(1 / (alpha - 1)), with the tau that makes the sum 1; the
/// softmax for alpha = 1. 0 for -infinity, and for a row of nothing else; NaN for a row with NaN or +infinity. out may
/// be x. alpha >= 1. Powers other than 1 and 2 are taken in double: near alpha = 1 they are large.
template <Real T>
HEED_NOINLINE void entmax_row(const T* x, Index width, double alpha, T* out) {
  if (alpha == 1) {
    softmax_row(x, width, out);
  } else if (alpha == 2) {
    detail::entmax_of_power(detail::FirstPower(), 1, x, width, out);
  } else if (alpha == 1.5) {
    detail::entmax_of_power(detail::SecondPower(), 0.5, x, width, out);
  } else {
    ScratchFrame frame;
    double* const wide = frame.take<double>(width);
    std::copy_n(x, width, wide);
    detail::entmax_of_power(detail::AnyPower{1 / (alpha - 1)}, alpha - 1, wide, width, wide);
    for (Index i = 0; i < width; ++i) out[i] = T(wide[i]);
  }
}

/// d_x += s (d_out - <s, d_out> / <s, 1>) with s = y^(2 - alpha) where y > 0 and 0 elsewhere, for the result y of
/// entmax_row. Outside of the support d_out is not read.
template <Real T>
HEED_NOINLINE void entmax_row_backward(const T* y, const T* d_out, Index width, double alpha, T* d_x) {
  using simd::Batch;
  const Batch<T> zero(T(0)), one(T(1)), power(T(2 - alpha));
  const auto weight = [&](Batch<T> p) -> Batch<T> {
    if (alpha == 1) return p;
    const auto out = p <= zero;
    if (alpha == 2) return simd::select(out, zero, one);
    if (alpha == 1.5) return simd::sqrt<T>(simd::select(out, zero, p));
    return simd::select(out, zero, simd::exp<T>(power * simd::log<T>(simd::select(out, one, p))));
  };
  Batch<T> total = zero, along = zero;
  for_lanes<T>(width, [&](Index i, auto lanes) {
    const Batch<T> s = weight(load_lanes<T>(y + i, lanes));
    total = total + s;
    along = simd::select(s == zero, along, simd::fma(s, load_lanes<T>(d_out + i, lanes), along));
  });
  const T sum = simd::reduce_add<T>(total);
  if (sum == 0) return;
  const Batch<T> common(simd::reduce_add<T>(along) / sum);
  for_lanes<T>(width, [&](Index i, auto lanes) {
    const Batch<T> s = weight(load_lanes<T>(y + i, lanes)), old = load_lanes<T>(d_x + i, lanes);
    const Batch<T> d = simd::fma(s, load_lanes<T>(d_out + i, lanes) - common, old);
    simd::store_partial<T>(simd::select(s == zero, old, d), d_x + i, lanes);
  });
}

/// The gradient of alpha. With s as above and r = s / <s, 1>: sum of d_out ((y - r) / (alpha - 1)^2 - (y ln y - r <y,
/// ln y>) / (alpha - 1)); next to alpha = 1, where that is a difference of large numbers, its limit there.
template <Real T>
double entmax_alpha_gradient(const T* y, const T* d_out, Index width, double alpha) {
  const double over = alpha - 1;
  const bool limit = over < 1e-5;
  double total = 0, moment = 0;
  for (Index i = 0; i < width; ++i) {
    if (!(y[i] > 0)) continue;
    const double p = double(y[i]), log = std::log(p);
    total += std::pow(p, 2 - alpha);
    moment += limit ? p * log * log : p * log;
  }
  double gradient = 0;
  for (Index i = 0; i < width; ++i) {
    if (!(y[i] > 0)) continue;
    const double p = double(y[i]), log = std::log(p), r = std::pow(p, 2 - alpha) / total;
    gradient += double(d_out[i]) *
                (limit ? 0.5 * p * (moment - log * log) : (p - r) / (over * over) - (p * log - r * moment) / over);
  }
  return gradient;
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
