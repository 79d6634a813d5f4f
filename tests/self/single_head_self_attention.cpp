// SPDX-License-Identifier: Apache-2.0
#include "heed/self/single_head_self_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

heed::SingleHeadSelfAttention<float> make(Index channels, Index part) {
  heed::SingleHeadSelfAttention<float> op{{.partial_dim = part, .qk_dim = 2}};
  const auto projection = [](auto& layer, Index out, Index in, unsigned seed) {
    layer.weight = random_tensor<float, 2>({out, in}, seed);
    layer.bn.mean = random_tensor<float, 1>({out}, seed + 1);
    layer.bn.var = random_tensor<float, 1>({out}, seed + 2).abs();
  };
  projection(op.qkv, 4 + part, part, 1);
  projection(op.out, channels, channels, 11);
  return op;
}

}  // namespace

TEST_CASE("single_head_self_attention: with one pixel out is of the values alone, with and without a bypass") {
  for (const Index part : {3, 5}) {
    const auto op = make(5, part);
    const auto x = random_tensor<float, 4>({2, 5, 1, 1}, 21);
    Tensor<double, 4> want(2, 5, 1, 1);
    const auto norm = [](const auto& layer, Index c, double v) {
      return (v - double(layer.bn.mean(c))) / std::sqrt(double(layer.bn.var(c)) + 1e-5);
    };
    for (Index b = 0; b < 2; ++b) {
      double mean = 0, variance = 0;
      for (Index c = 0; c < part; ++c) mean += double(x(b, c, 0, 0)) / double(part);
      for (Index c = 0; c < part; ++c) variance += std::pow(double(x(b, c, 0, 0)) - mean, 2) / double(part);
      for (Index o = 0; o < 5; ++o) {
        double sum = 0;
        for (Index c = 0; c < 5; ++c) {
          double value = c < part ? 0 : double(x(b, c, 0, 0));
          for (Index d = 0; c < part && d < part; ++d)
            value += double(op.qkv.weight(4 + c, d)) * (double(x(b, d, 0, 0)) - mean) / std::sqrt(variance + 1e-5);
          if (c < part) value = norm(op.qkv, 4 + c, value);
          sum += double(op.out.weight(o, c)) * std::max(value, 0.0);
        }
        want(b, o, 0, 0) = norm(op.out, o, sum);
      }
    }
    CHECK(error_of(op(x), want) < 1e-5);
  }
}

TEST_CASE("single_head_self_attention: errors") {
  auto op = make(5, 3);
  const auto x = random_tensor<float, 4>({2, 4, 3, 2}, 21);
  CHECK_THROWS_WITH(op(x), "single_head_self_attention: out.weight must have shape (4, 4), got (5, 5)");
  op.options.partial_dim = 5;
  CHECK_THROWS_WITH(op(x), "single_head_self_attention: partial_dim must be in 1 .. C = 4, got 5");
}
