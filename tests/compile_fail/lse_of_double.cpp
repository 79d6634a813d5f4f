// SPDX-License-Identifier: Apache-2.0
// expect: heed: lse must be float, or double where q is double
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> q(1, 1, 2, 3), out(1, 1, 2, 3);
  heed::Tensor<double, 3> lse(1, 1, 2);
  heed::softmax_attention()(q, q, q, heed::into(out, lse));
}
