// SPDX-License-Identifier: Apache-2.0
// l2_normalize: rows of length 1, whose products are cosines.
#pragma once

#include "heed/block/normalize.hpp"

namespace heed::inline HEED_ISA {

struct L2NormalizeOptions {
  double eps = 1e-12;       ///< above 0 in x's type
  bool eps_inside = false;  ///< x / sqrt(|x|^2 + eps), which is smooth, instead of x / max(|x|, eps)
};

namespace detail {
template <class T, class F>
auto with_length_norm(std::string_view where, const L2NormalizeOptions& options, F&& f) {
  require(std::isfinite(options.eps) && T(options.eps) > T(0), where, "eps must be positive, got ", options.eps);
  using kernel::RowNorm;
  return options.eps_inside ? f(std::integral_constant<RowNorm, RowNorm::kSmoothLength>())
                            : f(std::integral_constant<RowNorm, RowNorm::kLength>());
}
}  // namespace detail

/// out = x / max(|x|, eps) over the last axis: x (.., C), out as x, and it may be x. A row of zeros stays one.
///
/// Any rank, strides and storage. Throws heed::Error for shapes that do not fit and an eps that is not positive. Time
/// O(rows * C), memory O(C) a thread; a row has the same bits in any batch and for any device.
///
/// Gradient: to x, by l2_normalize_backward; where |x| is below eps, of x / eps.
template <Device D, TensorLike X, TensorLike O>
void l2_normalize(const D& device, const X& x, const L2NormalizeOptions& options, O&& out) {
  using T = Compute<ScalarOf<X>>;
  const View<const T, 1> none;
  detail::with_length_norm<T>("l2_normalize", options, [&](auto norm) {
    detail::normalize_rows<norm.value>("l2_normalize", device, const_view(x), none, none, options.eps, view(out));
  });
}
template <Device D, Operand X>
auto l2_normalize(const D& device, const X& x, const L2NormalizeOptions& options = {}) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("l2_normalize", sizes_of(x), x);
  l2_normalize(device, x, options, out);
  return out;
}
template <Operand X>
auto l2_normalize(const X& x, const L2NormalizeOptions& options = {}) {
  return l2_normalize(DeviceRef(), x, options);
}

/// Adds the gradient of l2_normalize to d_x; nothing if that has no data.
template <Device D, TensorLike X, TensorLike G, TensorLike DX>
void l2_normalize_backward(const D& device, const X& x, const L2NormalizeOptions& options, const G& d_out, DX&& d_x) {
  using T = Compute<ScalarOf<X>>;
  const View<const T, 1> none;
  const View<T, 1> unwanted;
  detail::with_length_norm<T>("l2_normalize_backward", options, [&](auto norm) {
    detail::normalize_rows_backward<norm.value>("l2_normalize_backward", device, const_view(x), none, options.eps,
                                                const_view(d_out), view(d_x), unwanted, unwanted);
  });
}

}  // namespace heed::inline HEED_ISA
