// SPDX-License-Identifier: Apache-2.0
// Mlp: two linear layers with a function between them.
#pragma once

#include <string>

#include "heed/block/activation.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// fc2(f(fc1(x))) of x (.., C): fc1.weight (F, C), fc2.weight (O, F), both biases optional. Throws heed::Error for
/// shapes that do not fit. The same bits for any number of threads.
/// Gradient: of the blocks that it is made of.
template <Storage T>
struct Mlp {
  Linear<T> fc1 = {}, fc2 = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "fc1.", fc1, "fc2.", fc2);
  }

  /// mlp(device, heed::Gelu(), x).
  template <Device D, ActivationFunction F, Operand X>
  auto operator()(const D& device, const F& f, const X& x) const {
    const auto hidden = fc1(device, x);
    const auto active = activate(device, f, hidden);
    return fc2(device, active);
  }
};

/// Throws heed::Error in the name of an operator unless its part `name` maps `in` channels to `out`.
template <Storage T>
void check_mlp(std::string_view where, const std::string& name, const Mlp<T>& layers, Index in, Index out) {
  const Index hidden = layers.fc1.weight.dimension(0);
  check_linear(where, name + ".fc1", layers.fc1, in, hidden);
  check_linear(where, name + ".fc2", layers.fc2, hidden, out);
}

}  // namespace heed::inline HEED_ISA
