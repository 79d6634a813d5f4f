// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/gathered.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

// Query i of every list reads the keys j with (i + 2 j) % 3 != 0, ascending; query 2 reads none.
Tensor<std::int32_t, 4> lists(Index heads, Index queries, Index keys) {
  Tensor<std::int32_t, 4> result(1, heads, queries, keys);
  result.setConstant(-1);
  for (Index h = 0; h < heads; ++h)
    for (Index i = 0; i < queries; ++i)
      for (Index j = 0, s = 0; j < keys && i != 2; ++j)
        if ((i + 2 * j) % 3 != 0) result(0, h, i, s++) = std::int32_t(j);
  return result;
}

}  // namespace

TEST_CASE("gathered_attention reads the lists and nothing else") {
  for (const Index width : {1, 17, 64, 70}) {
    const auto q = random_tensor<float, 4>({1, 4, 5, width}, 1), k = random_tensor<float, 4>({1, 2, 37, width}, 2);
    auto v = random_tensor<float, 4>({1, 2, 37, width}, 3);
    const auto keys = lists(4, 5, 37);
    NaiveAttention naive{.scale = 0.3};
    naive.visible = [](Index, Index, Index i, Index j) { return i != 2 && (i + 2 * j) % 3 != 0; };
    Tensor<float, 4> out(1, 4, 5, width);
    out.setConstant(NAN);
    const heed::View<const float, 4> no_bias;
    gathered_attention(heed::DeviceRef(), heed::const_view(q), heed::const_view(k), heed::const_view(v),
                       heed::const_view(keys), no_bias, 0.3, heed::view(out));
    CHECK(error_of(out, naive(q, k, v).out) < 2e-6);
  }
}

TEST_CASE("Gradients of gathered_attention, with a bias per query and one for all") {
  auto q = random_tensor<double, 4>({1, 4, 4, 3}, 1), k = random_tensor<double, 4>({1, 2, 6, 3}, 2);
  auto v = random_tensor<double, 4>({1, 2, 6, 2}, 3);
  const auto keys = lists(2, 4, 6);
  for (const Index rows : {4, 1}) {
    auto bias = random_tensor<double, 4>({1, 2, rows, 6}, 4);
    check_gradients(
        [&](auto& tape, const auto& a, const auto& b, const auto& c, const auto& d) {
          const auto out = tape.template make<4>({1, 4, 4, 2});
          gathered_attention(heed::DeviceRef(), a, b, c, heed::const_view(keys), d, 0.6, out);
          return out;
        },
        q, k, v, bias);
  }
}
