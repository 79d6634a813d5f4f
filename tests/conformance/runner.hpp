// SPDX-License-Identifier: Apache-2.0
// Runs case files through a registry and says how each went.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "registry.hpp"

namespace conformance {

struct Options {
  std::vector<std::string> folders;
  bool grad = false;       // also compare gradients, of the cases that have them
  bool in_double = false;  // run in double instead of float
};

struct Result {
  enum class Status { ok, failed, missing };

  std::string stem;  // the file's name without .safetensors
  Status status = Status::ok;
  Comparison worst;                // of all outputs, relative to its tolerance
  std::vector<std::string> notes;  // on a failure: what went wrong, in words
};

/// "<stem> ok|FAIL|MISSING <worst tensor> <error> <tolerance>"; "-" stands for a tensor or number that there is none
/// of.
std::ostream& operator<<(std::ostream& out, const Result& result);

/// Never throws because of what the file holds: a case that cannot be read, or whose operator throws, has failed.
Result run_case(const Registry& registry, const std::string& path, const Options& options);

/// Runs every *.safetensors in the folders and below, in the order of their names. Prints a line per case and the
/// summary to `out`, notes to `log`. Returns whether nothing failed; throws std::runtime_error for a folder that is not
/// there.
bool run(const Registry& registry, const Options& options, std::ostream& out, std::ostream& log);

}  // namespace conformance
