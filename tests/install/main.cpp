// SPDX-License-Identifier: Apache-2.0
#include <heed/core/tensor.hpp>

int main() {
  heed::Tensor<float, 2> x(2, 3);
  x.setConstant(1.f);
  return heed::view(x).count() == 6 ? 0 : 1;
}
