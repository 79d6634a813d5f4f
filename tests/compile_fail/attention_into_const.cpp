// SPDX-License-Identifier: Apache-2.0
// expect: heed::into: out must be writable
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> q(1, 1, 2, 3);
  const heed::Tensor<float, 4> out(1, 1, 2, 3);
  heed::softmax_attention()(q, q, q, heed::into(out));
}
