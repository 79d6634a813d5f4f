// SPDX-License-Identifier: Apache-2.0
// expect: heed: only one modifier of a chain may add a logit to the softmax
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> x(1, 1, 2, 3);
  heed::Tensor<float, 1> logits(1);
  return int(heed::softmax_attention(heed::sink_logit(logits) | heed::sink_logit(logits))(x, x, x).size());
}
