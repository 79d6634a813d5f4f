// SPDX-License-Identifier: Apache-2.0
// heed_conformance DIR... [--grad] [--double]: compares heed with the cases in folders. See cases/ and registry.hpp.
#include <exception>
#include <iostream>
#include <string>

#include "runner.hpp"

int main(int argc, char** argv) try {
  conformance::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--grad") {
      options.grad = true;
    } else if (argument == "--double") {
      options.in_double = true;
    } else if (argument.starts_with("-")) {
      options.folders.clear();
      break;
    } else {
      options.folders.push_back(argument);
    }
  }
  if (options.folders.empty()) {
    std::cerr << "usage: heed_conformance DIR... [--grad] [--double]\n";
    return 2;
  }
  conformance::Registry registry;
  conformance::Adapters::add_to(registry);
  return conformance::run(registry, options, std::cout, std::cerr) ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "heed_conformance: " << error.what() << '\n';
  return 2;
}
