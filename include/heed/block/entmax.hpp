// SPDX-License-Identifier: Apache-2.0
// entmax over the last axis: a softmax that gives exact zeros.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/entmax.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline constexpr Index kEntmaxUnit = 2048;  // elements that make a unit of work, a few microseconds

inline void check_alpha(std::string_view where, double alpha) {
  require(std::isfinite(alpha) && alpha >= 1, where, "alpha must be 1 or more and finite, got ", alpha);
}

/// The alpha of every row: one number, or a tensor (.., 1).
struct OneAlpha {
  double alpha;
  double operator()(Index) const { return alpha; }
};
template <class U, int Rank>
struct RowAlphas {
  kernel::Rows<const U, Rank> rows;
  explicit RowAlphas(const View<const U, Rank>& alpha) : rows(alpha) {}
  double operator()(Index row) const { return double(*rows.row(row)); }
};
template <class A>
auto alphas_of(const A& alpha) {
  if constexpr (std::is_arithmetic_v<A>) {
    return OneAlpha{double(alpha)};
  } else {
    return RowAlphas(const_view(alpha));
  }
}

template <int Rank, class A>
void check_alphas(const std::array<Index, std::size_t(Rank)>& x, const A& alpha) {
  if constexpr (std::is_arithmetic_v<A>) {
    check_alpha("entmax", double(alpha));
  } else {
    static_assert(kRankOf<A> == Rank, "heed::entmax: alpha is a number, or a tensor (.., 1) with the axes of x");
    auto expected = x;
    expected.back() = 1;
    require_shape("entmax", "alpha", const_view(alpha).sizes, expected);
    const auto of = alphas_of(alpha);
    for (Index r = 0; r < of.rows.count(); ++r) check_alpha("entmax", of(r));
  }
}

template <Real T, class D, class UX, int Rank, class F>
void for_each_entmax_row(const D& device, const kernel::Rows<UX, Rank>& rows, const F& f) {
  const Index width = rows.width(), band = std::max<Index>(1, kEntmaxUnit / width);
  parallel_for(device, (rows.count() + band - 1) / band, [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const gradient_copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index r = unit * band; r < std::min(rows.count(), (unit + 1) * band); ++r) f(r, copy, gradient_copy, made);
  });
}

}  // namespace detail

/// out = alpha-entmax of x over the last axis, out_i = max(0, (alpha - 1) x_i - tau)^(1 / (alpha - 1)) with the tau
/// that makes the sum 1: softmax for alpha = 1, sparsemax for alpha = 2, exact zeros for all but 1. x (.., n), out of
/// its shape and type, which may be x; alpha a number (the default 1.5), or a tensor (.., 1), one for each row.
///
/// An element of -infinity gets 0, a row of nothing else gives 0, equal elements share. Any rank, strides and storage.
/// Throws heed::Error for an alpha below 1 and shapes that do not fit. tau is found by Newton's method: some ten passes
/// over a row instead of a sort, ten times as dear for an alpha other than 1, 1.5 and 2, for its powers. A row has the
/// same bits in any batch and for any device.
///
/// Gradient: to x and, where it is a tensor, to alpha, by entmax_backward; for alpha = 1 that of alpha is the limit.
///
/// Source: Martins and Astudillo 2016 (sparsemax), Peters et al. 2019 (entmax), Correia et al. 2019 (learned alpha).
template <Device D, TensorLike X, class A, TensorLike O>
void entmax_into(const D& device, const X& x, const A& alpha, O&& out) {
  using T = Compute<ScalarOf<X>>;
  const auto input = const_view(x);
  detail::check_alphas<kRankOf<X>>(input.sizes, alpha);
  require_shape("entmax", "out", view(out).sizes, input.sizes);
  if (input.count() == 0) return;
  const kernel::Rows from(input);
  const kernel::Rows to(view(out));
  const auto alphas = detail::alphas_of(alpha);
  const Index width = from.width();
  detail::for_each_entmax_row<T>(device, from, [&](Index r, T* copy, T*, T* made) {
    T* const result = kernel::packed_target<T>(to.row(r), to.stride(), made);
    kernel::entmax_row<T>(kernel::packed<T>(from.row(r), from.stride(), width, copy), width, alphas(r), result);
    kernel::put<T>(result, width, to.row(r), to.stride());
  });
}
template <Device D, TensorLike X, class A>
requires(std::is_arithmetic_v<A> || TensorLike<A>) auto entmax(const D& device, const X& x, const A& alpha) {
  Tensor<ScalarOf<X>, kRankOf<X>> out;
  out.resize(const_view(x).sizes);
  entmax_into(device, x, alpha, out);
  return out;
}
template <Operand X>
auto entmax(const X& x, double alpha = 1.5) {
  return entmax(DeviceRef(), x, alpha);
}
template <Operand X, Operand A>
auto entmax(const X& x, const A& alpha) {
  return entmax(DeviceRef(), x, alpha);
}

/// The gradients of entmax, given its result y, added to d_x and, where alpha is a tensor, to d_alpha; one of null data
/// is not wanted.
template <Device D, Real T, int Rank, class A>
void entmax_backward(const D& device, const View<const T, Rank>& y, const A& alpha, const View<const T, Rank>& d_out,
                     const View<T, Rank>& d_x, const View<T, Rank>& d_alpha = {}) {
  if (y.count() == 0) return;
  const kernel::Rows from(y), incoming(d_out);
  const kernel::Rows to(d_x), to_alpha(d_alpha);
  const auto alphas = detail::alphas_of(alpha);
  const Index width = from.width();
  detail::for_each_entmax_row<T>(device, from, [&](Index r, T* copy, T* gradient_copy, T* made) {
    const T* const p = kernel::packed<T>(from.row(r), from.stride(), width, copy);
    const T* const d = kernel::packed<T>(incoming.row(r), incoming.stride(), width, gradient_copy);
    if (d_x.data) {
      T* const sum = kernel::packed_sum<T>(to.row(r), to.stride(), width, made);
      kernel::entmax_row_backward<T>(p, d, width, alphas(r), sum);
      kernel::put<T>(sum, width, to.row(r), to.stride());
    }
    if (d_alpha.data) *to_alpha.row(r) += T(kernel::entmax_alpha_gradient<T>(p, d, width, alphas(r)));
  });
}

}  // namespace heed::inline HEED_ISA
