// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/window_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

// With the identity as value and output projection, the operator is the attention alone.
heed::WindowAttention<float> identity_values(Index channels, Index heads, const std::array<Index, 2>& window,
                                             const std::array<Index, 2>& shift) {
  heed::WindowAttention<float> attend{{.num_heads = heads, .window_size = window, .shift = shift}};
  attend.qkv.weight = random_tensor<float, 2>({3 * channels, channels}, 1, 0.5);
  attend.out.weight.resize(channels, channels);
  for (Index c = 0; c < channels; ++c)
    for (Index d = 0; d < channels; ++d)
      attend.out.weight(c, d) = attend.qkv.weight(2 * channels + c, d) = float(c == d);
  return attend;
}

}  // namespace

TEST_CASE("window_attention: padded, shifted, with and without a table") {
  struct Case {
    Index h, w, heads;
    std::array<Index, 2> window, shift;
    bool table;
  };
  for (const Case& c : {Case{14, 14, 2, {7, 7}, {0, 0}, false}, Case{14, 21, 2, {7, 7}, {3, 3}, true},
                        Case{5, 9, 1, {3, 4}, {2, 0}, false}, Case{1, 17, 2, {3, 3}, {0, 1}, true}}) {
    const Index channels = 6, pixels = c.h * c.w;
    auto attend = identity_values(channels, c.heads, c.window, c.shift);
    if (c.table)
      attend.rel_bias_table = random_tensor<float, 2>({(2 * c.window[0] - 1) * (2 * c.window[1] - 1), c.heads}, 2);
    const auto x = random_tensor<float, 4>({2, c.h, c.w, channels}, 3);
    const auto got = attend(x);

    // Over the padded image: keys of padding are 0 without a bias of the projection.
    const std::array<Index, 2> padded{(c.h + c.window[0] - 1) / c.window[0] * c.window[0],
                                      (c.w + c.window[1] - 1) / c.window[1] * c.window[1]};
    Tensor<float, 3> tokens(2, padded[0] * padded[1], channels);
    tokens.setZero();
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < pixels; ++i)
        for (Index d = 0; d < channels; ++d) tokens(b, i / c.w * padded[1] + i % c.w, d) = x(b, i / c.w, i % c.w, d);
    const auto packed = attend.qkv(tokens);
    const auto heads = [&](Index part) {
      return heed::split_heads(heed::view(packed).slice(2, part * channels, channels), c.heads);
    };
    const auto moved = [&](Index token, std::size_t axis) {
      const Index at = axis == 0 ? token / padded[1] : token % padded[1];
      return (at - c.shift[axis] + padded[axis]) % padded[axis];
    };
    NaiveAttention naive;
    naive.visible = [&](Index, Index, Index i, Index j) {
      return moved(i, 0) / c.window[0] == moved(j, 0) / c.window[0] &&
             moved(i, 1) / c.window[1] == moved(j, 1) / c.window[1];
    };
    naive.score = [&](double s, Index, Index h, Index i, Index j) {
      const auto wrapped = [&](Index token, std::size_t axis) {
        return (axis == 0 ? token / padded[1] : token % padded[1]) < c.shift[axis];
      };
      if (c.table) {
        const Index dy = moved(i, 0) % c.window[0] - moved(j, 0) % c.window[0] + c.window[0] - 1;
        const Index dx = moved(i, 1) % c.window[1] - moved(j, 1) % c.window[1] + c.window[1] - 1;
        s += double(attend.rel_bias_table(dy * (2 * c.window[1] - 1) + dx, h));
      }
      return wrapped(i, 0) != wrapped(j, 0) || wrapped(i, 1) != wrapped(j, 1) ? s - 100 : s;
    };
    const auto want = naive(heads(0), heads(1), heads(2)).out;
    double worst = 0;
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < pixels; ++i)
        for (Index d = 0; d < channels; ++d) {
          const Index width = channels / c.heads, token = i / c.w * padded[1] + i % c.w;
          const double difference = double(got(b, i / c.w, i % c.w, d)) - want(b, d / width, token, d % width);
          worst = std::max(worst, std::abs(difference));
        }
    CHECK(worst < 1e-5);

    Eigen::ThreadPool pool(3);
    const auto again = attend(Eigen::ThreadPoolDevice(&pool, 3), x);
    CHECK(std::memcmp(again.data(), got.data(), sizeof(float) * std::size_t(got.size())) == 0);
  }
}

TEST_CASE("window_attention: errors") {
  auto attend = identity_values(4, 2, {2, 2}, {0, 2});
  const auto x = random_tensor<float, 4>({1, 4, 4, 4}, 1);
  CHECK_THROWS_WITH(attend(x),
                    "window_attention: window_size must be 1 or more and shift in 0 .. window_size - 1, got (2, 2) and "
                    "(0, 2)");
  attend.options.shift = {0, 1};
  attend.rel_bias_table.resize(8, 2);
  CHECK_THROWS_WITH(attend(x), "window_attention: rel_bias_table must have shape (9, 2), got (8, 2)");
  attend.options.num_heads = 3;
  CHECK_THROWS_WITH(attend(x), "window_attention: the channels of x, 4, must be a multiple of num_heads, 3");
}
