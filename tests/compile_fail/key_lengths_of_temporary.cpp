// SPDX-License-Identifier: Apache-2.0
// expect: heed: only a view of this tensor is kept, and it is a temporary: put it in a variable
#include <heed/attention/mask/standard.hpp>

int main() {
  using Lengths = heed::Tensor<std::int32_t, 1>;
  const auto make = [](int batch) -> const Lengths { return Lengths(batch); };
  return int(heed::key_lengths(make(2)).lengths.count());
}
