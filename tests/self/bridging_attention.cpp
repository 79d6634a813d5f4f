// SPDX-License-Identifier: Apache-2.0
#include "heed/self/bridging_attention.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/bilinear_sample.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::BridgingAttention;
using heed::Index;
using heed::SharedLocationBias;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_linear;
using heed::test::random_tensor;

namespace {

SharedLocationBias<double> location(Index heads, Index width, const heed::SharedLocationOptions& options) {
  return {options, random_linear<double>(heads, width, true, 5)};
}

BridgingAttention<double> bridge(const BridgingAttention<double>::Options& options, Index c) {
  BridgingAttention<double> op(options);
  unsigned seed = 30;
  for (auto& g : op.group) {
    auto& a = g.attention;
    for (auto* part : {&a.q, &a.k, &a.v, &a.out}) *part = random_linear<double>(c, c, true, ++seed);
    g.location.loc = random_linear<double>(options.num_heads, c, true, ++seed);
  }
  return op;
}

using Keys = std::vector<heed::KeyPoints<heed::View<const double, 3>>>;

}  // namespace

TEST_CASE("shared_location_bias: g of the distance, and the same from the map where the stretch allows it") {
  const auto query = random_tensor<double, 3>({2, 3, 2}, 1, 40), key = random_tensor<double, 3>({2, 5, 2}, 2, 40);
  const auto exact = location(2, 8, {.base_size = std::nullopt, .log_scale = false});
  const auto got = exact(query, key);
  REQUIRE(heed::const_view(got).sizes == std::array<Index, 4>{2, 2, 3, 5});
  const double f = std::pow(1000.0, 0.5);
  for (Index h = 0; h < 2; ++h) {
    const double x = (key(1, 4, 0) - query(1, 2, 0)) / 8, y = (key(1, 4, 1) - query(1, 2, 1)) / 8;
    const double code[] = {std::sin(x), std::sin(x / f), std::cos(x), std::cos(x / f),
                           std::sin(y), std::sin(y / f), std::cos(y), std::cos(y / f)};
    double want = exact.loc.bias(h);
    for (Index e = 0; e < 8; ++e) want += exact.loc.weight(h, e) * code[e];
    CHECK(got(1, h, 2, 4) == Approx(want));
  }

  // A base of 3 x 5 has as many steps: nothing is stretched, and points beyond it are at the border.
  auto map = location(2, 8, {.base_size = {{3, 5}}, .log_scale = false, .position_scale = 1});
  Tensor<double, 3> origin(1, 1, 2), points(1, 3, 2);
  origin.setZero();
  points.setValues({{{1, -2}, {0, 1}, {-9, 100}}});
  auto inside = points;
  inside(0, 2, 0) = -1;
  inside(0, 2, 1) = 2;
  auto computed = map;
  computed.options.base_size.reset();
  CHECK(error_of(map(origin, points), computed(origin, inside)) < 1e-14);

  map.options.log_scale = computed.options.log_scale = true;  // the floor is met: g has both signs
  CHECK(error_of(map(origin, points), computed(origin, inside)) < 1e-10);
  CHECK(map(origin, Tensor<double, 3>(1, 0, 2)).size() == 0);
  CHECK_THROWS_AS(map(origin, Tensor<double, 3>(1, 3, 3)), heed::Error);
  map.options.base_size = {{0, 5}};
  CHECK_THROWS_WITH(map(origin, points), "shared_location_bias: base_size must be positive, got (0, 5)");
}

TEST_CASE("bridging_attention is attention to each group with the bias on its scores") {
  const Index c = 8, heads = 2;
  const auto x = random_tensor<double, 3>({2, 3, c}, 1), at = random_tensor<double, 3>({2, 3, 2}, 2, 30);
  const auto key0 = random_tensor<double, 3>({2, 4, c}, 3), at0 = random_tensor<double, 3>({2, 4, 2}, 4, 30);
  const auto key1 = random_tensor<double, 3>({2, 1, c}, 5), at1 = random_tensor<double, 3>({2, 1, 2}, 6, 30);
  for (const bool appearance : {true, false})
    for (const bool positions : {true, false})
      for (const bool shared : {true, false}) {
        if (!appearance && !positions) continue;
        const auto op = bridge({.num_groups = 2,
                                .num_heads = heads,
                                .appearance = appearance,
                                .location = positions,
                                .shared_location = shared,
                                .bias = {.base_size = {{9, 9}}, .log_scale = false}},
                               c);
        Tensor<double, 3> want = x;
        for (std::size_t g = 0; g < 2; ++g) {
          const auto& key = g == 0 ? key0 : key1;
          const auto bias = op.group[shared ? 0 : g].location(at, g == 0 ? at0 : at1);
          heed::test::NaiveAttention dense;
          if (!appearance) dense.scale = 0;
          dense.score = [&](double s, Index b, Index h, Index i, Index j) {
            return positions ? s + bias(b, h, i, j) : s;
          };
          const auto& a = op.group[g].attention;
          want += heed::test::apply(
              a.out, heed::test::naive_heads(dense, heed::test::apply(a.q, x), heed::test::apply(a.k, key),
                                             heed::test::apply(a.v, key), heads));
        }
        want = want.cwiseMax(0.0);
        CHECK(error_of(op(x, at, Keys{{key0, at0}, {key1, at1}}), want) < 1e-12);
      }
}

TEST_CASE("bridging_attention: a group without points adds its bias; errors") {
  const auto op = bridge({.num_heads = 2, .bias = {.base_size = {{9, 9}}}}, 8);
  const auto x = random_tensor<double, 3>({1, 3, 8}, 1), at = random_tensor<double, 3>({1, 3, 2}, 2);
  const Tensor<double, 3> none(1, 0, 8), nowhere(1, 0, 2);
  const auto got = op(x, at, Keys{{none, nowhere}});
  for (Index d = 0; d < 8; ++d) CHECK(got(0, 2, d) == std::max(0.0, x(0, 2, d) + op.group[0].attention.out.bias(d)));
  CHECK_THROWS_AS(op(x, at, Keys{}), heed::Error);
  CHECK_THROWS_AS(op(x, at, Keys{{at, nowhere}}), heed::Error);
  CHECK_THROWS_AS(BridgingAttention<double>({.appearance = false, .location = false}), heed::Error);
}

TEST_CASE("Gradients of bridging_attention and its bias") {
  auto x = random_tensor<double, 3>({1, 2, 8}, 1), at = random_tensor<double, 3>({1, 2, 2}, 2, 3);
  auto key = random_tensor<double, 3>({1, 3, 8}, 3), key_at = random_tensor<double, 3>({1, 3, 2}, 4, 3);
  using Var = heed::Var<double, 3>;
  auto op = bridge({.num_heads = 2, .bias = {.base_size = {{10, 8}}, .log_scale = false, .position_scale = 2}}, 8);
  heed::test::check_gradients(
      [&](auto&, const auto& v, const auto& p, const auto& k, const auto& kp) {
        return op(v, p, std::vector<heed::KeyPoints<Var>>{{k, kp}});
      },
      x, at, key, key_at, op);
  for (const bool with_map : {true, false}) {
    auto bias = location(2, 8, {.position_scale = 2});
    if (!with_map) bias.options.base_size.reset();
    bias.loc.bias(0) = bias.loc.bias(1) = 5;  // a positive g, whose log is smooth
    heed::test::check_gradients([&](auto&, const auto& p, const auto& kp) { return bias(p, kp); }, at, key_at, bias);
  }
}
