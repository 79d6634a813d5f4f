// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/axial_attention.hpp"

#include "catch.hpp"
#include "heed/block/heads.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

heed::AxialAttention<float> make(Index axes, Index channels, Index heads, Index rows, bool sum) {
  heed::AxialAttention<float> attend({.num_heads = heads, .sum_outputs = sum}, axes);
  unsigned seed = 20;
  for (auto& axis : attend.axis) {
    for (auto* layer : {&axis.q, &axis.k, &axis.v})
      layer->weight = random_tensor<float, 2>({rows, channels}, ++seed, 0.5);
    axis.out.weight = random_tensor<float, 2>({channels, rows}, ++seed, 0.5);
    axis.out.bias = random_tensor<float, 1>({channels}, ++seed);
  }
  return attend;
}

}  // namespace

TEST_CASE("axial_attention: each line is a sequence of its own") {
  const Index first = 5, second = 3, channels = 4;
  const auto x = random_tensor<float, 4>({2, first, second, channels}, 1);
  for (const bool sum : {true, false}) {
    const auto attend = make(2, channels, 2, 6, sum);
    // Along one axis, by lines: (B, S_0, S_1, C) to lines of `axis`.
    const auto along = [&](const Tensor<float, 4>& from, std::size_t axis) {
      Tensor<float, 4> result(2, first, second, channels);
      const Index lines = axis == 0 ? second : first;
      for (Index line = 0; line < lines; ++line) {
        const auto tokens = heed::const_view(from).select(axis == 0 ? 2 : 1, line);
        const auto q = attend.axis[axis].q(tokens), k = attend.axis[axis].k(tokens), v = attend.axis[axis].v(tokens);
        const auto want =
            NaiveAttention()(heed::split_heads(q, 2), heed::split_heads(k, 2), heed::split_heads(v, 2)).out;
        Tensor<float, 3> mixed(2, tokens.size(1), 6);
        for (Index b = 0; b < 2; ++b)
          for (Index i = 0; i < tokens.size(1); ++i)
            for (Index c = 0; c < 6; ++c) mixed(b, i, c) = float(want(b, c / 3, i, c % 3));
        const Tensor<float, 3> out = attend.axis[axis].out(mixed);
        result.chip(line, axis == 0 ? 2 : 1) = out;
      }
      return result;
    };
    Tensor<float, 4> want = along(x, 0);
    if (sum) {
      want += along(x, 1);
    } else {
      want = along(want, 1);
    }
    CHECK(heed::test::error_of(attend(x), want) < 1e-5);
  }
}

TEST_CASE("axial_attention: errors") {
  const auto attend = make(2, 4, 2, 6, true);
  CHECK_THROWS_WITH(attend(random_tensor<float, 3>({1, 5, 4}, 1)),
                    "axial_attention: x must have 4 axes, one for each of 2 and two more, got shape (1, 5, 4)");
  CHECK_THROWS_WITH(attend(random_tensor<float, 4>({1, 5, 3, 5}, 1)),
                    "axial_attention: axis0.q.weight must have shape (6, 5), got (6, 4)");
}
