// SPDX-License-Identifier: Apache-2.0
// expect: TensorLike
// An unevaluated expression has no memory to view.
#include <heed/core/tensor.hpp>

int main() {
  heed::Tensor<float, 2> x(2, 3), y(2, 3);
  return int(heed::view(x + y).count());
}
