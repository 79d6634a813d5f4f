// SPDX-License-Identifier: Apache-2.0
#include "heed/simd/stream.hpp"

#include <numeric>
#include <vector>

#include "catch.hpp"

TEST_CASE("stream copies whole lines from any address and nothing else") {
  constexpr std::size_t line = heed::simd::kStreamAlignment / sizeof(float);
  for (const std::size_t lines : {0u, 1u, 3u, 17u})
    for (const std::size_t shift : {0u, 1u, 5u}) {
      std::vector<float> from(lines * line + shift);
      std::iota(from.begin(), from.end(), 1.0f);
      alignas(heed::simd::kStreamAlignment) float to[18 * line];
      std::fill(std::begin(to), std::end(to), -1.0f);
      heed::simd::stream(from.data() + shift, lines * line * sizeof(float), to);
      heed::simd::end_streams();
      CHECK(std::equal(from.begin() + std::ptrdiff_t(shift), from.end(), to));
      CHECK(std::all_of(to + lines * line, std::end(to), [](float x) { return x == -1.0f; }));
    }
}
