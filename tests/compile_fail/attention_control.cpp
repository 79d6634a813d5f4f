// SPDX-License-Identifier: Apache-2.0
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 4> q(1, 1, 2, 3), out(1, 1, 2, 3);
  heed::Tensor<float, 3> lse(1, 1, 2);
  heed::Tensor<float, 1> logits(1);
  const auto score = heed::softcap(3) | [](auto s, const auto&) { return s; } | heed::sink_logit(logits);
  const auto rule = heed::causal() && [](const auto& at) { return at.key() == at.key(); };
  heed::softmax_attention(score, rule)(q, q, q, heed::into(out, lse));
}
