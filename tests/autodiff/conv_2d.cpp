// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/conv_2d.hpp"

#include "support/finite_differences.hpp"

using heed::Conv2d;
using heed::ConvOptions;
using heed::Index;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of conv_2d") {
  struct Problem {
    std::array<Index, 4> x, weight;
    ConvOptions options;
  };
  for (const Problem& p : std::initializer_list<Problem>{
           {{2, 3, 5, 4}, {4, 3, 3, 3}, ConvOptions::same(3)},
           {{1, 3, 5, 7}, {5, 3, 1, 1}, {}},
           {{1, 3, 6, 5}, {2, 3, 1, 1}, {{2, 2}, {0, 0}, {1, 1}, 1}},  // inputs that no tap reads
           {{2, 4, 7, 9}, {6, 2, 3, 2}, {{2, 3}, {1, 2}, {2, 1}, 2}},
           {{1, 2, 3, 2}, {1, 2, 5, 5}, ConvOptions::same(5)},
           {{1, 33, 3, 5}, {2, 33, 3, 3}, ConvOptions::same(3)},
           {{2, 3, 5, 19}, {3, 1, 3, 3}, ConvOptions::same(3, 3)},
           {{1, 2, 7, 8}, {4, 1, 3, 4}, {{2, 3}, {1, 2}, {2, 1}, 2}},
       }) {
    CAPTURE(heed::shape_text(p.x), heed::shape_text(p.weight));
    Conv2d<double> layer{random_tensor<double, 4>(p.weight, 1), random_tensor<double, 1>({p.weight[0]}, 2), p.options};
    auto x = random_tensor<double, 4>(p.x, 3);
    check_gradients([&](auto&, const auto& v) { return layer(v); }, x, layer);
  }
  SECTION("of a map of channels last") {
    Conv2d<double> layer{random_tensor<double, 4>({2, 3, 3, 3}, 1), {}, ConvOptions::same(3)};
    auto x = random_tensor<double, 4>({1, 4, 5, 3}, 3);
    check_gradients([&](auto&, const auto& v) { return layer(v.permute({0, 3, 1, 2})); }, x, layer);
  }
  SECTION("into a variable of channels last") {
    const auto options = GENERATE(ConvOptions::same(3, 9), ConvOptions{{1, 1}, {3, 1}, {2, 1}, 9},
                                  ConvOptions{{2, 3}, {1, 2}, {1, 1}, 9});
    Conv2d<double> layer{random_tensor<double, 4>({9, 1, 3, 3}, 1), random_tensor<double, 1>({9}, 2), options};
    auto x = random_tensor<double, 4>({2, 4, 10, 9}, 3);
    check_gradients(
        [&](auto& tape, const auto& v) {
          const auto extent = [&](Index size, std::size_t a) {
            return (size + 2 * options.padding[a] - 2 * options.dilation[a] - 1) / options.stride[a] + 1;
          };
          const auto out = tape.template make<4>({2, extent(4, 0), extent(10, 1), 9});
          heed::conv_2d(heed::DeviceRef(), v.permute({0, 3, 1, 2}), layer.weight, layer.bias, layer.options,
                        out.permute({0, 3, 1, 2}));
          return out;
        },
        x, layer);
  }
}
