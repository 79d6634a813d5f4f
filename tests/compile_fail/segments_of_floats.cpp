// SPDX-License-Identifier: Apache-2.0
// expect: heed::segments: ids are std::int32_t
#include <heed/attention/mask/segments.hpp>

int main() {
  const heed::Tensor<float, 2> ids(2, 3);
  return int(heed::segments(ids, ids).keys.count());
}
