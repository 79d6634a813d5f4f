// SPDX-License-Identifier: Apache-2.0
// expect: heed::into: lse has the axes of out but the last
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> out(1, 1, 2, 3);
  heed::Tensor<float, 4> lse(1, 1, 2, 1);
  return int(heed::into(out, lse).lse.size(0));
}
