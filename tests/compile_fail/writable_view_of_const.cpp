// SPDX-License-Identifier: Apache-2.0
// expect: no matching function|no viable conversion|conversion from
#include <heed/core/tensor.hpp>

int main() {
  const heed::Tensor<float, 2> x(2, 3);
  const heed::View<float, 2> view(x);
  return int(view.count());
}
