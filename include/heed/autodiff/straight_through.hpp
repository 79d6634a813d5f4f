// SPDX-License-Identifier: Apache-2.0
// straight_through of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/straight_through.hpp"

namespace heed::inline HEED_ISA {

/// straight_through of a Var.
template <Recorded X, TensorLike V>
X straight_through(const X& x, const V& value) {
  auto& tape = tape_of("straight_through", x);
  require_shape("straight_through", "value", const_view(value).sizes, x.sizes());
  const X out = tape.template make<X::rank>(x.sizes());
  scale(tape.device(), value, 1, tape.written(out));
  tape.on_backward(out, [&tape, x, out] {
    const auto d_x = tape.accumulate(x);
    if (d_x.data) scale<kernel::Write::kAdd>(tape.device(), tape.gradient(out), 1, d_x);
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
