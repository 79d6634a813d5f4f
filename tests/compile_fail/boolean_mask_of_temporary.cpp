// SPDX-License-Identifier: Apache-2.0
// expect: heed: only a view of this tensor is kept, and it is a temporary: put it in a variable
#include <heed/attention/mask/boolean.hpp>

int main() {
  heed::Tensor<std::uint8_t, 2> mask(2, 3);
  const auto rule = heed::boolean_mask(std::move(mask));
  return int(rule.mask.count());
}
