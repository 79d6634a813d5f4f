// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/unzip.hpp"

#include "catch.hpp"

namespace {

template <class T>
void separates_and_joins() {
  constexpr int w = heed::simd::kLanes<T>;
  alignas(64) T in[2 * w], even[w], odd[w], out[2 * w];
  for (int i = 0; i < 2 * w; ++i) in[i] = T(i + 1);
  const auto [a, b] = heed::simd::unzip<T>(heed::simd::load_aligned(in), heed::simd::load_aligned(in + w));
  a.store_aligned(even);
  b.store_aligned(odd);
  for (int i = 0; i < w; ++i) {
    CHECK(even[i] == in[2 * i]);
    CHECK(odd[i] == in[2 * i + 1]);
  }
  const auto [low, high] = heed::simd::zip<T>(a, b);
  low.store_aligned(out);
  high.store_aligned(out + w);
  for (int i = 0; i < 2 * w; ++i) CHECK(out[i] == in[i]);
}

}  // namespace

TEST_CASE("unzip separates even and odd elements, and zip undoes it") {
  separates_and_joins<float>();
  separates_and_joins<double>();
}
