// SPDX-License-Identifier: Apache-2.0
#include "heed/analysis/visual_attention_redistribution.hpp"

#include "heed/analysis/vision_aware_head_reinforcement.hpp"
#include "heed/autodiff/masked_fill.hpp"
#include "support/channel.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("visual_attention_redistribution keeps the sum of every row") {
  Tensor<double, 3> hidden(1, 6, 4);
  hidden.setConstant(0.1);
  hidden(0, 0, 2) = hidden(0, 3, 2) = 50;  // a text sink and a visual one
  const Tensor<double, 4> attn = heed::softmax(random_tensor<double, 4>({1, 3, 6, 6}, 1));
  heed::VisualAttentionRedistribution edit{
      {.tau = 1.9, .rho = 0.9, .summ = 0.1, .image_start = 1, .image_len = 4, .sink_dims = {2}}};
  const auto result = edit(attn, hidden);
  for (Index j = 0; j < 6; ++j) CHECK(int(result.sink_mask(j)) == (j == 0 || j == 3));
  for (Index h = 0; h < 3; ++h)
    for (Index i = 0; i < 6; ++i) {
      double sum = 0;
      for (Index j = 0; j < 6; ++j) sum += result.out(0, h, i, j);
      CHECK(sum == Approx(1));
      CHECK(result.out(0, h, i, 3) == Approx((i < 5 ? 1 : 0.6) * attn(0, h, i, 3)));
      CHECK(result.out(0, h, i, 5) == attn(0, h, i, 5));
    }
  hidden(0, 3, 2) = 0.1;
  const auto no_sink = edit(attn, hidden);
  for (Index e = 0; e < attn.size(); ++e) CHECK(no_sink.out.data()[e] == attn.data()[e]);
  edit.options.sink_dims = {4};
  CHECK_THROWS_AS(edit(attn, hidden), heed::Error);
}

TEST_CASE("A row with nothing but sinks in the image is left alone") {
  Tensor<double, 3> hidden(1, 3, 2);
  hidden.setConstant(0.1);
  hidden(0, 1, 0) = 9;
  Tensor<double, 4> attn(1, 1, 1, 3);
  attn.setValues({{{{0.5, 0.5, 0}}}});
  const heed::VisualAttentionRedistribution edit{
      {.tau = 1.3, .rho = 1, .image_start = 1, .image_len = 2, .sink_dims = {0}, .prefill = false}};
  CHECK(edit(attn, hidden).out(0, 0, 0, 1) == 0.5);
}

TEST_CASE("vision_aware_head_reinforcement selects what lies above the median") {
  using Op = heed::VisionAwareHeadReinforcement;
  auto with = random_tensor<double, 3>({2, 4, 3}, 1), without = random_tensor<double, 3>({2, 4, 3}, 2);
  const auto result = Op{{.alpha = 3, .top_k = 2, .median = Op::Median::kMid}}(with, without);
  double largest = 0;
  for (Index l = 0; l < 2; ++l) {
    Index count = 0;
    std::vector<double> row;
    for (Index h = 0; h < 4; ++h) {
      count += result.selected(l, h);
      row.push_back(result.vhd(l, h));
      CHECK(result.out(l, h, 1) == Approx((result.selected(l, h) != 0 ? 3 : 1) * with(l, h, 1)));
    }
    std::sort(row.rbegin(), row.rend());
    largest += row[0] + row[1];
    CHECK(count <= 2);
  }
  CHECK(result.t_vhd(0) == Approx(largest));
  check_gradients(
      [](auto&, const auto& a, const auto& b) {
        const auto r = Op{{.top_k = 3}}(a, b);
        return std::make_tuple(r.vhd, r.t_vhd, r.out);
      },
      with, without);
  CHECK(Op()(with, with).vhd(0, 0) == 0);
  CHECK_THROWS_AS(Op()(with, random_tensor<double, 3>({2, 4, 2}, 2)), heed::Error);
}
