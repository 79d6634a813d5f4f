// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/merge.hpp"

#include <limits>

#include "heed/autodiff/concat.hpp"
#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tape;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

TEST_CASE("Gradients of merged attention states") {
  for (const Index width : {1, 17}) {
    auto outputs = random_tensor<double, 5>({3, 2, 2, 5, width}, 1);
    auto lses = random_tensor<double, 4>({3, 2, 2, 5}, 2);
    check_gradients([](auto&, const auto& o, const auto& l) { return heed::merge_attention_states(o, l); }, outputs,
                    lses);
  }
}

TEST_CASE("Gradients of states of variables of their own") {
  auto a = random_tensor<double, 4>({1, 2, 3, 5}, 1), b = random_tensor<double, 4>({1, 2, 3, 5}, 2);
  auto lses = random_tensor<double, 4>({2, 1, 2, 3}, 3);
  check_gradients(
      [](auto&, const auto& x, const auto& y, const auto& l) {
        return heed::merge_attention_states(heed::concat<0>(x.template promote<5>(), y.template promote<5>()), l);
      },
      a, b, lses);
}

TEST_CASE("A state that saw no key gets no gradient, whatever it holds") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  auto outputs = random_tensor<double, 5>({2, 1, 1, 3, 4}, 1);
  auto lses = random_tensor<double, 4>({2, 1, 1, 3}, 2);
  const auto c = random_tensor<double, 4>({1, 1, 3, 4}, 3);
  const auto e = random_tensor<double, 3>({1, 1, 3}, 4);
  lses(0, 0, 0, 1) = -kInfinity;
  lses(0, 0, 0, 2) = lses(1, 0, 0, 2) = -kInfinity;
  for (Index d = 0; d < 4; ++d)
    outputs(0, 0, 0, 1, d) = outputs(0, 0, 0, 2, d) = outputs(1, 0, 0, 2, d) = heed::test::kNaN;
  Tape<double> tape;
  const auto [out, lse] = heed::merge_attention_states(tape.input(outputs), lses);
  tape.backward(out, c, lse, e);
  const auto d_outputs = tape.grad(outputs);
  const auto d_lses = tape.grad(lses);
  for (Index d = 0; d < 4; ++d) {
    CHECK(d_outputs(0, 0, 0, 1, d) == 0);
    CHECK(d_outputs(1, 0, 0, 1, d) == c(0, 0, 1, d));
    CHECK(d_outputs(0, 0, 0, 2, d) == 0);
    CHECK(d_outputs(1, 0, 0, 2, d) == 0);
  }
  CHECK(d_lses(0, 0, 0, 1) == 0);
  CHECK(std::abs(d_lses(1, 0, 0, 1) - e(0, 0, 1)) < 1e-15);
  CHECK(d_lses(1, 0, 0, 2) == 0);
}
