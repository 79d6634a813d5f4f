// SPDX-License-Identifier: Apache-2.0
// The one translation unit that compiles Catch2 itself.
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
