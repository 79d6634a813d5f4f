// SPDX-License-Identifier: Apache-2.0
// expect: a boolean mask holds std::uint8_t or bool
// A float mask is a bias, or a mistake.
#include <heed/attention/mask/boolean.hpp>

int main() {
  const heed::Tensor<float, 2> mask(2, 3);
  return int(heed::boolean_mask(mask).mask.count());
}
