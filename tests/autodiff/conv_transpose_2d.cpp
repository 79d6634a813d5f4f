// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/conv_transpose_2d.hpp"

#include "support/finite_differences.hpp"

using heed::ConvOptions;
using heed::ConvTranspose2d;
using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

struct Problem {
  std::array<Index, 4> x, weight;
  ConvOptions options;
  std::array<Index, 2> output_padding;
};
const std::vector<Problem> kProblems = {
    {{2, 3, 3, 4}, {3, 2, 2, 2}, {{2, 2}, {0, 0}, {1, 1}, 1}, {0, 0}},
    {{1, 4, 3, 2}, {4, 3, 3, 2}, {{3, 2}, {1, 1}, {1, 2}, 2}, {2, 1}},
    {{1, 1, 5, 1}, {1, 5, 1, 1}, {{2, 3}, {0, 0}, {1, 1}, 1}, {0, 0}},  // outputs of the bias alone
};

}  // namespace

TEST_CASE("conv_transpose_2d scatters what conv_2d gathers") {
  for (const Problem& p : kProblems) {
    CAPTURE(heed::shape_text(p.x), heed::shape_text(p.weight));
    const ConvTranspose2d<double> layer{random_tensor<double, 4>(p.weight, 1),
                                        random_tensor<double, 1>({p.weight[1] * p.options.groups}, 2), p.options,
                                        p.output_padding};
    const auto x = random_tensor<double, 4>(p.x, 3);
    const Tensor<double, 4> y = layer(x);
    Tensor<double, 4> want(y.dimensions());
    for (Index b = 0; b < p.x[0]; ++b)
      for (Index o = 0; o < y.dimension(1); ++o) want.chip(b, 0).chip(o, 0).setConstant(layer.bias(o));
    const Index outs = p.weight[1], ins = p.x[1] / p.options.groups;
    for (Index b = 0; b < p.x[0]; ++b)
      for (Index e = 0; e < p.x[1]; ++e)
        for (Index c = 0; c < outs; ++c)
          for (Index i = 0; i < p.x[2]; ++i)
            for (Index j = 0; j < p.x[3]; ++j)
              for (Index u = 0; u < p.weight[2]; ++u)
                for (Index v = 0; v < p.weight[3]; ++v) {
                  const Index row = i * p.options.stride[0] - p.options.padding[0] + u * p.options.dilation[0];
                  const Index column = j * p.options.stride[1] - p.options.padding[1] + v * p.options.dilation[1];
                  if (row < 0 || column < 0 || row >= y.dimension(2) || column >= y.dimension(3)) continue;
                  want(b, e / ins * outs + c, row, column) += layer.weight(e, c, u, v) * x(b, e, i, j);
                }
    CHECK(error_of(y, want) < 1e-14);
  }
  const Tensor<double, 4> weight(3, 2, 2, 2);
  CHECK_THROWS_AS(heed::conv_transpose_2d(Tensor<double, 4>(1, 2, 3, 3), weight, Tensor<double, 1>()), heed::Error);
  CHECK_THROWS_AS(heed::conv_transpose_2d(Tensor<double, 4>(1, 3, 3, 3), weight, Tensor<double, 1>(), {}, {1, 0}),
                  heed::Error);
}

TEST_CASE("Gradients of conv_transpose_2d") {
  for (const Problem& p : kProblems) {
    CAPTURE(heed::shape_text(p.x), heed::shape_text(p.weight));
    ConvTranspose2d<double> layer{random_tensor<double, 4>(p.weight, 1),
                                  random_tensor<double, 1>({p.weight[1] * p.options.groups}, 2), p.options,
                                  p.output_padding};
    auto x = random_tensor<double, 4>(p.x, 3);
    check_gradients([&](auto&, const auto& v) { return layer(v); }, x, layer);
  }
}
