// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/merge_routes.hpp"

#include "support/finite_differences.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::random_tensor;

namespace {

// Four queries with 3, 1, 0 and 1 states, the last of which saw no key.
Tensor<std::int32_t, 4> places() {
  Tensor<std::int32_t, 4> place(1, 1, 4, 3);
  place.setValues({{{{4, 0, 2}, {-1, 3, -1}, {-1, -1, -1}, {1, -1, -1}}}});
  return place;
}

}  // namespace

TEST_CASE("merge_routes is merge_attention_states of the states of each query") {
  const auto outputs = random_tensor<float, 4>({1, 1, 5, 17}, 1);
  auto lses = random_tensor<float, 3>({1, 1, 5}, 2);
  lses(0, 0, 1) = -std::numeric_limits<float>::infinity();
  const auto place = places();
  Tensor<float, 4> out(1, 1, 4, 17);
  out.setConstant(NAN);
  merge_routes(heed::DeviceRef(), heed::const_view(outputs), heed::const_view(lses), heed::const_view(place),
               heed::view(out));
  double sum = 0;
  for (const Index p : {4, 0, 2}) sum += std::exp(double(lses(0, 0, p)));
  for (Index d = 0; d < 17; ++d) {
    double want = 0;
    for (const Index p : {4, 0, 2}) want += std::exp(double(lses(0, 0, p))) / sum * double(outputs(0, 0, p, d));
    CHECK(std::abs(out(0, 0, 0, d) - want) < 1e-6);
    CHECK(out(0, 0, 1, d) == outputs(0, 0, 3, d));
    CHECK(out(0, 0, 2, d) == 0);
    CHECK(out(0, 0, 3, d) == 0);
  }
}

TEST_CASE("Gradients of merge_routes") {
  auto outputs = random_tensor<double, 4>({1, 1, 5, 3}, 1);
  auto lses = random_tensor<double, 3>({1, 1, 5}, 2);
  const auto place = places();
  check_gradients(
      [&](auto& tape, const auto& o, const auto& l) {
        const auto out = tape.template make<4>({1, 1, 4, 3});
        merge_routes(heed::DeviceRef(), o, l, heed::const_view(place), out);
        return out;
      },
      outputs, lses);
}
