// SPDX-License-Identifier: Apache-2.0
// band_product of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/band_product.hpp"

namespace heed::inline HEED_ISA {

/// band_product where z or weight is a Var; the other may be a tensor, which is then a parameter.
template <Operand Z, Operand W>
requires AnyRecorded<Z, W>
auto band_product(const Z& z_like, const W& weight_like) {
  auto& tape = tape_of("band_product", z_like, weight_like);
  const auto z = tape.operand(z_like);
  const auto weight = tape.operand(weight_like);
  detail::check_band_product(z, weight);
  const auto out = tape.template make<2>(z.sizes());
  band_product_into(z.value(), weight.value(), tape.written(out));
  tape.on_backward(out, [&tape, z, weight, out] {
    band_product_backward(z.value(), weight.value(), tape.gradient(out), tape.accumulate(z), tape.accumulate(weight));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
