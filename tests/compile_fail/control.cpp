// SPDX-License-Identifier: Apache-2.0
#include <heed/core/tensor.hpp>

int main() {
  heed::Tensor<float, 2> x(2, 3);
  return int(heed::const_view(x).count()) - 6;
}
