// SPDX-License-Identifier: Apache-2.0
// Catch2, version 2 or 3, under the names that both have.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_session.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

using Catch::Approx;  // where version 2 has it
#else
#include <catch2/catch.hpp>
#endif

#include <string>

namespace heed::test {

/// Matches a text that holds `part`: REQUIRE_THROWS_WITH(call, contains("attention: k")).
inline auto contains(const std::string& part) {
#if __has_include(<catch2/catch_test_macros.hpp>)
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

}  // namespace heed::test
