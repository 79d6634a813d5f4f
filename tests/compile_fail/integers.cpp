// SPDX-License-Identifier: Apache-2.0
// expect: heed: tensors must hold float, double, bfloat16 or half|Storage
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<int, 4> q(1, 1, 2, 3);
  return int(heed::softmax_attention()(q, q, q).size());
}
