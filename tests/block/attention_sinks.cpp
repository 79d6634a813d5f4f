// SPDX-License-Identifier: Apache-2.0
#include "heed/block/attention_sinks.hpp"

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

TEST_CASE("sink_mask: tokens of one outstanding channel") {
  auto x = random_tensor<float, 2>({6, 17}, 1, 0.1);
  x(2, 3) = -50;
  x(4, 5) = 50;
  const Index dims[] = {3, 7};
  const auto mask = heed::sink_mask(x, dims, 3);
  for (Index j = 0; j < 6; ++j) CHECK(mask(j) == (j == 2));
  CHECK(heed::sink_mask(Tensor<float, 2>(0, 17), dims, 3).size() == 0);
  const Index none[] = {17};
  CHECK_THROWS_WITH(heed::sink_mask(x, none, 3), "sink_mask: channel 17 is none of 17");
}

TEST_CASE("redistribute_sinks keeps the sum of a row, and the ratio of what is no sink") {
  const Index queries = 5, keys = 17, begin = 3, length = 9;
  Tensor<double, 3> weights = random_tensor<double, 3>({2, queries, keys}, 1).abs();
  for (Index r = 0; r < 2 * queries; ++r) {
    double sum = 0;
    for (Index j = 0; j < keys; ++j) sum += weights.data()[r * keys + j];
    for (Index j = 0; j < keys; ++j) weights.data()[r * keys + j] /= sum;
  }
  Tensor<std::uint8_t, 1> sinks(14);
  sinks.setZero();
  sinks(0) = sinks(4) = sinks(8) = sinks(13) = 1;
  heed::SinkRedistribution options{
      .rho = 0.99, .summ = 0, .p = 0.25, .image_start = begin, .image_len = length, .first_row = 2};
  auto edited = weights;
  const auto redistribute = [&](auto& x) {
    heed::redistribute_sinks(heed::DeviceRef(), heed::view(x), heed::const_view(sinks), options);
  };
  redistribute(edited);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < queries; ++i) {
      double sum = 0;
      for (Index j = 0; j < keys; ++j) {
        const bool sink = j < 14 && sinks(j) != 0, image = j >= begin && j < begin + length;
        sum += edited(b, i, j);
        if (i < 2 || (!sink && !image)) CHECK(edited(b, i, j) == weights(b, i, j));
        if (i >= 2 && sink) CHECK(edited(b, i, j) == Approx(0.25 * weights(b, i, j)));
        if (i >= 2 && image && !sink)
          CHECK(edited(b, i, j) / edited(b, i, 3) == Approx(weights(b, i, j) / weights(b, i, 3)));
      }
      CHECK(sum == Approx(1));
    }

  // Rows with more on the sinks, or less on the image, than the options ask for stay.
  for (const bool many : {true, false}) {
    options.rho = many ? 0 : 0.99;
    options.summ = many ? 0 : 1.01;
    auto same = weights;
    redistribute(same);
    CHECK(error_of(same, weights) == 0);
  }
  options.image_len = 15;
  CHECK_THROWS_WITH(redistribute(edited),
                    "redistribute_sinks: the image tokens [3, 18) and 14 hidden states are not among the 17 keys");
}
