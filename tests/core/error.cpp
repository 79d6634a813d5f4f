// SPDX-License-Identifier: Apache-2.0
#include "heed/core/error.hpp"

#include <array>
#include <stdexcept>
#include <vector>

#include "catch.hpp"

TEST_CASE("fail joins its parts behind the operator's name") {
  CHECK_THROWS_WITH(heed::fail("softmax_attention", "k has ", 3, " axes, expected ", 4),
                    "softmax_attention: k has 3 axes, expected 4");
  CHECK_THROWS_AS(heed::fail("x", "y"), heed::Error);
}

TEST_CASE("heed::Error is a std::invalid_argument") { CHECK_THROWS_AS(heed::fail("x", "y"), std::invalid_argument); }

TEST_CASE("require throws only for a condition that does not hold") {
  CHECK_NOTHROW(heed::require(true, "x", "y"));
  CHECK_THROWS_WITH(heed::require(false, "x", "y"), "x: y");
}

TEST_CASE("shape_text") {
  CHECK(std::string(heed::shape_text(std::array<long, 4>{2, 8, 128, 64})) == "(2, 8, 128, 64)");
  CHECK(std::string(heed::shape_text(std::array<long, 1>{0})) == "(0)");
  CHECK(std::string(heed::shape_text(std::vector<int>{})) == "()");
}
