// SPDX-License-Identifier: Apache-2.0
// expect: TensorLike
// An unevaluated Eigen expression has no memory to view.
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> q(1, 1, 2, 3), k(1, 1, 2, 3);
  return int(heed::softmax_attention()(q, k + k, k).size());
}
