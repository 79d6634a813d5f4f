// SPDX-License-Identifier: Apache-2.0
#include "heed/core/divide.hpp"

#include <cstdint>
#include <random>
#include <vector>

#include "catch.hpp"

using heed::Divider;
using heed::Index;

TEST_CASE("a Divider divides") {
  constexpr Index kTop = (Index(1) << 31) - 1;
  std::mt19937_64 engine(7);
  std::vector<Index> divisors{1,    2,     3,     5,     7,     10,       641,      1023, 1024,
                              1025, 46337, 65535, 65536, 65537, kTop / 2, kTop - 1, kTop};
  for (int x = 0; x < 500; ++x) divisors.push_back(1 + Index(engine() >> (33 + engine() % 31)) % kTop);
  Index wrong = 0;
  for (const Index d : divisors) {
    const Divider divide(d);
    REQUIRE(divide.divisor() == d);
    const auto check = [&](Index n) {
      wrong += n >= 0 && n <= kTop && (divide.quotient(n) != n / d || divide.remainder(n) != n % d);
    };
    for (Index n = 0; n < 2000; ++n) check(n), check(kTop - n);
    for (int x = 0; x < 500; ++x) {
      const Index multiple = Index(engine() % std::uint64_t(kTop / d + 1)) * d;
      check(multiple - 1), check(multiple), check(multiple + 1);
      check(Index(engine() % (std::uint64_t(kTop) + 1)));
    }
  }
  REQUIRE(wrong == 0);
}
