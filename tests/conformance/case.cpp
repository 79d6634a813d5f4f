// SPDX-License-Identifier: Apache-2.0
#include "case.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace conformance {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The largest element of |got - want|. Equal infinities differ by 0; a NaN anywhere is the result.
template <class Got, class Want>
double largest_difference(const std::vector<Got>& got, const std::vector<Want>& want) {
  double largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == static_cast<Got>(want[i])) continue;
    const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

// The largest finite |want|: an infinite one must be met exactly, and makes no room for the others.
double largest_magnitude(const std::vector<double>& want) {
  double largest = 0;
  for (const double value : want)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  return largest;
}

bool is_float(std::string_view dtype) { return dtype.starts_with('F') || dtype == "BF16"; }

template <class U>
bool is_of_kind(const nlohmann::json& value) {
  if constexpr (std::same_as<U, bool>) return value.is_boolean();
  if constexpr (std::same_as<U, Index>) return value.is_number_integer();
  if constexpr (std::same_as<U, double>) return value.is_number();
  if constexpr (std::same_as<U, std::string>) return value.is_string();
  return value.is_array();
}

}  // namespace

struct CaseFile::Attributes {
  nlohmann::json values;
};

CaseFile::CaseFile(const std::string& path, Tolerances tolerances)
    : file_(path), tolerances_(tolerances), attributes_(std::make_unique<Attributes>()) {
  if (file_.metadata("format") != "1") throw std::runtime_error("is no conformance case of format 1");
  const std::optional<std::string> name = file_.metadata("operator");
  if (!name) throw std::runtime_error("names no operator");
  operator_name_ = *name;
  attributes_->values = nlohmann::json::parse(file_.metadata("attrs").value_or("{}"));
  if (!attributes_->values.is_object()) throw std::runtime_error("its attrs are no JSON object");
  for (const auto& [key, value] : attributes_->values.items()) unread_.insert("attribute " + key);
  for (const std::string& tensor : file_.names())
    if (tensor.starts_with("in.") || tensor.starts_with("param.")) unread_.insert(tensor);
}

CaseFile::~CaseFile() = default;

bool CaseFile::has(std::string_view kind, std::string_view name) const {
  return file_.contains(std::string(kind).append(name));
}

std::string CaseFile::used(std::string_view kind, std::string_view name) const {
  std::string full_name = std::string(kind).append(name);
  unread_.erase(full_name);
  return full_name;
}

bool CaseFile::has_attr(std::string_view name) const {
  unread_.erase("attribute " + std::string(name));
  const auto found = attributes_->values.find(std::string(name));
  return found != attributes_->values.end() && !found->is_null();
}

template <class U>
U CaseFile::attr(std::string_view name) const {
  if (!has_attr(name)) throw std::runtime_error("has no attribute '" + std::string(name) + "', or it is null");
  const nlohmann::json& value = attributes_->values.at(std::string(name));
  if (!is_of_kind<U>(value))
    throw std::runtime_error("attribute '" + std::string(name) + "' is of another kind: " + value.dump());
  return value.get<U>();
}

template <class U>
std::vector<U> CaseFile::attr_list(std::string_view name) const {
  if (!has_attr(name) || !attributes_->values.at(std::string(name)).is_array()) return {attr<U>(name)};
  const nlohmann::json& list = attributes_->values.at(std::string(name));
  if (!std::all_of(list.begin(), list.end(), is_of_kind<U>))
    throw std::runtime_error("attribute '" + std::string(name) + "' is a list of another kind: " + list.dump());
  return list.get<std::vector<U>>();
}

bool CaseFile::flag(std::string_view name) const { return attr<bool>(name); }
Index CaseFile::integer(std::string_view name) const { return attr<Index>(name); }
double CaseFile::number(std::string_view name) const { return attr<double>(name); }
std::string CaseFile::text(std::string_view name) const { return attr<std::string>(name); }
std::optional<double> CaseFile::number_or_null(std::string_view name) const {
  return has_attr(name) ? std::optional(attr<double>(name)) : std::nullopt;
}
std::optional<Index> CaseFile::integer_or_null(std::string_view name) const {
  return has_attr(name) ? std::optional(attr<Index>(name)) : std::nullopt;
}
std::vector<bool> CaseFile::flags(std::string_view name) const { return attr_list<bool>(name); }
std::vector<Index> CaseFile::integers(std::string_view name) const { return attr_list<Index>(name); }
std::vector<double> CaseFile::numbers(std::string_view name) const { return attr_list<double>(name); }
std::vector<std::string> CaseFile::texts(std::string_view name) const { return attr_list<std::string>(name); }
std::vector<std::vector<Index>> CaseFile::integer_lists(std::string_view name) const {
  return attr_list<std::vector<Index>>(name);
}

void CaseFile::compare(std::string_view kind, std::string_view name, const Computed& got, double tolerance) {
  Comparison result;
  result.tensor = std::string(kind).append(name);
  const std::vector<Index>& shape = file_.shape(result.tensor);
  const bool exact = !is_float(file_.dtype(result.tensor));
  result.tolerance = exact ? 0 : tolerance;
  if (got.shape != shape) {
    result.error = kInfinity;
    result.why =
        "expected shape " + std::string(heed::shape_text(shape)) + ", got " + std::string(heed::shape_text(got.shape));
  } else if (exact) {
    std::vector<std::int64_t> want;
    file_.read(result.tensor, want);
    result.error = std::visit([&](const auto& values) { return largest_difference(values, want); }, got.values);
  } else {
    std::vector<double> want;
    file_.read(result.tensor, want);
    const auto difference = [&](const auto& values) {
      return largest_difference(std::vector<double>(values.begin(), values.end()), want);
    };
    result.error = std::visit(difference, got.values) / (1 + largest_magnitude(want));
  }
  compared_[result.tensor] = result;
}

void CaseFile::reject(std::string_view kind, std::string_view name, std::string why) {
  Comparison& result = compared_[std::string(kind).append(name)];
  result.error = kInfinity;
  result.why = std::move(why);
}

bool CaseFile::has_gradients() const {
  const auto names = file_.names();
  return std::any_of(names.begin(), names.end(), [](const std::string& name) { return name.starts_with("grad."); });
}

std::vector<Comparison> CaseFile::results(bool gradients) const {
  std::vector<Comparison> result;
  for (const std::string& tensor : file_.names()) {
    const bool gradient = gradients && tensor.starts_with("grad.");
    if (!gradient && !tensor.starts_with("out.")) continue;
    const auto found = compared_.find(tensor);
    const double tolerance = gradient ? tolerances_.gradients : tolerances_.outputs;
    result.push_back(found != compared_.end() ? found->second
                                              : Comparison{tensor, kInfinity, tolerance, "was not computed"});
  }
  return result;
}

std::vector<std::string> CaseFile::unread() const { return {unread_.begin(), unread_.end()}; }

}  // namespace conformance
