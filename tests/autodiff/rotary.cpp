// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/rotary.hpp"

#include "heed/self/rotary_position_embedding.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::RotaryPositionEmbedding;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

Tensor<std::int32_t, 2> positions(Index batch, Index tokens) {
  Tensor<std::int32_t, 2> at(batch, tokens);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < tokens; ++i) at(b, i) = std::int32_t(5 * i + 3 * b);
  return at;
}

}  // namespace

TEST_CASE("Gradients of rotary embeddings") {
  auto x = random_tensor<double, 4>({2, 3, 5, 22}, 1);
  RotaryPositionEmbedding rope;
  rope.options.rotary_dim = 18;
  SECTION("half-split pairs") {}
  SECTION("interleaved pairs") { rope.options.interleaved = true; }
  SECTION("backwards") { rope.options.inverse = true; }
  SECTION("with an attention factor") {
    rope.options.scaling = heed::RotaryScaling::kYarn;
    rope.options.factor = 4;
    rope.options.original_max_position = 16;
  }
  const auto at = positions(2, 5);
  check_gradients([&](auto&, const auto& v) { return rope(v, at); }, x);

  const auto table = rope.table<double>(22, 40);
  check_gradients([&](auto&, const auto& v) { return rope(Eigen::DefaultDevice(), v, at, table); }, x);
}

TEST_CASE("Gradients of rotary embeddings of lower ranks and of other strides") {
  const RotaryPositionEmbedding rope;
  const Tensor<std::int32_t, 2> all = positions(1, 3);
  const heed::View<const std::int32_t, 1> at(all.data(), {3});
  auto x = random_tensor<double, 3>({6, 3, 4}, 1);
  check_gradients(
      [&](auto&, const auto& v) {
        return std::make_tuple(rope(v.select(0, 2), at), rope(v.permute({2, 1, 0}), at));
      },
      x);
}

TEST_CASE("Gradients of a rotation into a part of a variable") {
  auto x = random_tensor<double, 4>({2, 3, 5, 6}, 1);
  const auto at = positions(2, 5);
  check_gradients(
      [&](auto& tape, const auto& v) {
        const auto out = tape.template make<4>({2, 3, 10, 6});
        rotate(heed::DeviceRef(), v, at, heed::RotaryOptions(), out.slice(2, 5, 5));
        rotate(heed::DeviceRef(), v.slice(3, 2, 4), at, heed::RotaryOptions(), out.slice(2, 0, 5).slice(3, 0, 4));
        rotate(heed::DeviceRef(), v.slice(3, 0, 2), at, heed::RotaryOptions(), out.slice(2, 0, 5).slice(3, 4, 2));
        return out;
      },
      x);
}

TEST_CASE("Positions may go when the rotation was recorded") {
  const auto x = random_tensor<double, 2>({3, 4}, 1), c = random_tensor<double, 2>({3, 4}, 2);
  const RotaryPositionEmbedding rope;
  heed::Tape<double> tape;
  const auto at = positions(1, 3);
  heed::Var<double, 2> y;
  {
    auto gone = at;
    y = rope(tape.input(x), gone);
    gone.setConstant(77);
  }
  CHECK(error_of(y.value(), rope(x, at)) == 0);
  tape.backward(y, c);
  RotaryPositionEmbedding back{{.inverse = true}};
  CHECK(error_of(tape.grad(x), back(c, at)) == 0);
}
