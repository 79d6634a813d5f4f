// SPDX-License-Identifier: Apache-2.0
// The real part of a two-dimensional discrete Fourier transform.
#pragma once

#include <cmath>
#include <numbers>

#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// out(u, w) = sum over a and c of x(a, c) cos(2 pi (u a / n + w c / m)), of x (n, m), not scaled: by four products
/// with tables of cosines and sines, O(n m (n + m)), for the sizes of prompts. Angles are reduced by whole turns and
/// taken in double. Float or double. Gradient: of the blocks that it is made of.
template <Device D, Operand X>
auto real_fourier_2d(const D& device, const X& x) {
  using T = OperandScalar<X>;
  static_assert(kOperandRank<X> == 2 && Real<T>, "heed::real_fourier_2d: x is (n, m), of float or double");
  const auto table = [&](Index n, bool sine) {
    Tensor<T, 2> result(n, n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        const double angle = 2 * std::numbers::pi * double(i * j % n) / double(n);
        result(i, j) = T(sine ? std::sin(angle) : std::cos(angle));
      }
    return constant_with(std::move(result), x);
  };
  const Index rows = sizes_of(x)[0], columns = sizes_of(x)[1];
  const auto row_cos = table(rows, false), row_sin = table(rows, true);
  const auto column_cos = table(columns, false), column_sin = table(columns, true);
  const auto even = matmul(device, matmul(device, row_cos, x), column_cos);
  const auto odd = matmul(device, matmul(device, row_sin, x), column_sin);
  return subtract(device, even, odd);
}

}  // namespace heed::inline HEED_ISA
