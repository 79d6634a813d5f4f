// SPDX-License-Identifier: Apache-2.0
// expect: heed: q, k, v and out must have the same rank: .B, H, N, D., .H, N, D. or .N, D.
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 5> q(1, 1, 1, 2, 3);
  return int(heed::softmax_attention()(q, q, q).size());
}
