// SPDX-License-Identifier: Apache-2.0
// expect: heed: q, k and v must be computed in the same type: double goes with double only
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<double, 4> q(1, 1, 2, 3);
  heed::Tensor<float, 4> k(1, 1, 2, 3);
  return int(heed::softmax_attention()(q, k, k).size());
}
