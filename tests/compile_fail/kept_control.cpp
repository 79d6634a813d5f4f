// SPDX-License-Identifier: Apache-2.0
// Of what does not own its memory, a temporary is as good as a variable.
#include <heed/attention/mask/boolean.hpp>
#include <heed/attention/softmax_attention.hpp>

int main() {
  heed::Tensor<float, 1> slopes(4);
  heed::Matrix<float> pairs(3, 5);
  std::uint8_t bytes[15] = {};
  const auto score = heed::alibi(heed::const_view(slopes)) | heed::bias(pairs.topRows(2)) |
                     heed::sink_logit(Eigen::TensorMap<heed::Tensor<float, 1>>(slopes.data(), 4));
  const auto rule = heed::boolean_mask(Eigen::Map<const heed::Matrix<std::uint8_t>>(bytes, 3, 5)) &&
                    heed::key_mask(Eigen::Ref<const heed::Matrix<std::uint8_t>>(
                        Eigen::Map<const heed::Matrix<std::uint8_t>>(bytes, 3, 5)));
  const heed::Tensor<float, 4> q(1, 4, 3, 2), k(1, 4, 5, 2);
  heed::softmax_attention(score, rule)(q, k, k);
}
