// SPDX-License-Identifier: Apache-2.0
#include "heed/self/height_self_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::HeightSelfAttention;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_mask;
using heed::test::random_tensor;

namespace {

template <class T>
HeightSelfAttention<T> attention(Index c, Index heads, Index height) {
  HeightSelfAttention<T> attend{{.num_heads = heads}};
  unsigned seed = 20;
  for (auto* part : {&attend.q, &attend.k, &attend.v, &attend.out})
    *part = heed::test::random_linear<T>(c, c, true, ++seed);
  if (height > 0) attend.height_pos = random_tensor<T, 2>({height, c}, ++seed);
  return attend;
}

}  // namespace

TEST_CASE("height_self_attention is attention within each column, on top of x") {
  for (const bool positions : {false, true})
    for (const bool masked : {false, true})
      for (const Index height : {1, 3, 17}) {
        const Index heads = 2, c = 6;
        const auto attend = attention<double>(c, heads, positions ? height : 0);
        const auto x = random_tensor<double, 5>({2, c, height, 2, 3}, 1);
        auto mask = random_mask<4>({2, height, 2, 3}, 2, 0.6);
        for (Index z = 0; z < height; ++z) mask(1, z, 0, 2) = 0;
        Tensor<double, 5> want = x;
        for (Index b = 0; b < 2; ++b)
          for (Index i = 0; i < 2; ++i)
            for (Index j = 0; j < 3; ++j) {
              Tensor<double, 3> u(1, height, c);
              for (Index z = 0; z < height; ++z)
                for (Index d = 0; d < c; ++d) u(0, z, d) = x(b, d, z, i, j) + (positions ? attend.height_pos(z, d) : 0);
              heed::test::NaiveAttention dense;
              dense.visible = [&](Index, Index, Index, Index z) { return !masked || mask(b, z, i, j) != 0; };
              const auto column =
                  heed::test::apply(attend.out, heed::test::naive_heads(dense, heed::test::apply(attend.q, u),
                                                                        heed::test::apply(attend.k, u),
                                                                        heed::test::apply(attend.v, u), heads));
              for (Index z = 0; z < height; ++z)
                for (Index d = 0; d < c; ++d) want(b, d, z, i, j) += column(0, z, d);
            }
        HeightSelfAttention<double>::Inputs inputs;
        if (masked) inputs.mask = mask;
        CHECK(error_of(attend(x, inputs), want) < 1e-12);
      }
}

TEST_CASE("height_self_attention: a column without a voxel gives out.bias on top of x") {
  const auto attend = attention<float>(4, 1, 3);
  const auto x = random_tensor<float, 5>({1, 4, 3, 1, 1}, 1);
  Tensor<std::uint8_t, 4> mask(1, 3, 1, 1);
  mask.setZero();
  const auto got = attend(x, {.mask = mask});
  for (Index d = 0; d < 4; ++d)
    for (Index z = 0; z < 3; ++z) CHECK(got(0, d, z, 0, 0) == x(0, d, z, 0, 0) + attend.out.bias(d));
  CHECK_THROWS_WITH(attend(random_tensor<float, 5>({1, 4, 2, 1, 1}, 1)),
                    "height_self_attention: height_pos must have shape (2, 4), got (3, 4)");
  CHECK_THROWS_AS(attend(x, {.mask = Tensor<std::uint8_t, 4>(1, 2, 1, 1)}), heed::Error);
}

TEST_CASE("Gradients of height_self_attention") {
  auto attend = attention<double>(4, 2, 3);
  auto x = random_tensor<double, 5>({1, 4, 3, 2, 1}, 1);
  auto mask = random_mask<4>({1, 3, 2, 1}, 2, 0.6);
  heed::test::check_gradients([&](auto&, const auto& v) { return attend(v, {.mask = mask}); }, x, attend);
  attend.height_pos = {};
  heed::test::check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
}
