// SPDX-License-Identifier: Apache-2.0
// expect: heed: only a view of this tensor is kept, and it is a temporary: put it in a variable
// The slopes would be gone before the attention reads them.
#include <heed/attention/softmax_attention.hpp>

int main() {
  const auto score = heed::alibi(heed::Tensor<float, 1>(4));
  return int(score.slopes.count());
}
