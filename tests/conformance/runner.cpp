// SPDX-License-Identifier: Apache-2.0
#include "runner.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <tuple>

namespace conformance {

namespace {

// Failures first, NaN first of all, then by the share of the tolerance that is used.
auto badness(const Comparison& comparison) {
  const bool is_nan = std::isnan(comparison.error);
  const double used = comparison.error == 0 || is_nan ? 0 : comparison.error / comparison.tolerance;
  return std::tuple(!comparison.passed(), is_nan, used, comparison.tolerance);
}

void judge(const CaseFile& c, bool gradients, Result& result) {
  const std::vector<Comparison> outputs = c.results(gradients);
  if (outputs.empty()) throw std::runtime_error("the case has no outputs");
  result.worst = *std::ranges::max_element(outputs, {}, badness);
  if (result.worst.passed()) return;
  result.status = Result::Status::failed;
  for (const Comparison& output : outputs)
    if (!output.why.empty()) result.notes.push_back(output.tensor + ": " + output.why);
  for (const std::string& name : c.unread()) result.notes.push_back("the adapter never asked for " + name);
}

template <class T>
void run_in(const Registry& registry, const std::string& path, const Options& options, Result& result) {
  Case<T> plain(path);
  const Registry::Entry* entry = registry.find(plain.operator_name());
  if (entry == nullptr) {
    result.status = Result::Status::missing;
    return;
  }
  if (options.grad && plain.has_gradients()) {
    if (!entry->in<T>().recording) throw std::runtime_error("the case has gradients, the operator has none");
    RecordingCase<T> recording(path);
    entry->in<T>().recording(recording);
    judge(recording, true, result);
  } else {
    entry->in<T>().plain(plain);
    judge(plain, false, result);
  }
}

std::vector<std::filesystem::path> case_files(const std::vector<std::string>& folders) {
  std::vector<std::filesystem::path> files;
  for (const std::string& folder : folders) {
    if (!std::filesystem::is_directory(folder)) throw std::runtime_error(folder + " is no folder");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Result& result) {
  static constexpr const char* kWords[] = {" ok ", " FAIL ", " MISSING "};
  out << result.stem << kWords[int(result.status)];
  if (result.status == Result::Status::missing) return out << "- - -";
  return out << result.worst.tensor << ' ' << result.worst.error << ' ' << result.worst.tolerance;
}

Result run_case(const Registry& registry, const std::string& path, const Options& options) {
  Result result;
  result.stem = std::filesystem::path(path).stem().string();
  try {
    if (options.in_double)
      run_in<double>(registry, path, options, result);
    else
      run_in<float>(registry, path, options, result);
  } catch (const std::exception& error) {
    result.status = Result::Status::failed;
    result.worst.error = std::numeric_limits<double>::infinity();
    result.worst.tolerance = (options.in_double ? kTolerances<double> : kTolerances<float>).outputs;
    result.notes = {error.what()};
  }
  return result;
}

bool run(const Registry& registry, const Options& options, std::ostream& out, std::ostream& log) {
  int passed = 0, failed = 0, missing = 0;
  for (const std::filesystem::path& file : case_files(options.folders)) {
    const Result result = run_case(registry, file.string(), options);
    out << result << std::endl;  // flushed: a crash shows where it was
    for (const std::string& note : result.notes) log << "  " << result.stem << ": " << note << std::endl;
    ++(result.status == Result::Status::ok ? passed : result.status == Result::Status::failed ? failed : missing);
  }
  out << passed << " passed, " << failed << " failed, " << missing << " missing" << std::endl;
  return failed == 0;
}

}  // namespace conformance
