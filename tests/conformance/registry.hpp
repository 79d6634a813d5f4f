// SPDX-License-Identifier: Apache-2.0
// From an operator's name to its adapter: the few lines that read a case, call heed and hand back the outputs.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "case.hpp"

namespace conformance {

/// One line per operator, in the file of its family:
///
///   void add_channel(Registry& add) {
///     add("squeeze_excitation", []<class C>(C& c) {
///       heed::SqueezeExcitation<Scalar<C>> op{{.residual = c.flag("residual")}};
///       c.parameters(op);
///       c.out("out", op(c.in(rank<4>, "x")));
///     });
///   }
class Registry {
 public:
  /// What runs an operator on a case of T; `recording` is empty for an operator without gradients.
  template <class T>
  struct Runs {
    std::function<void(Case<T>&)> plain;
    std::function<void(RecordingCase<T>&)> recording;
  };
  struct Entry {
    Runs<float> in_float;
    Runs<double> in_double;

    template <class T>
    const Runs<T>& in() const {
      if constexpr (std::same_as<T, float>)
        return in_float;
      else
        return in_double;
    }
  };

  template <class Adapter>
  void operator()(const std::string& operator_name, const Adapter& adapter) {
    insert(operator_name, Entry{{adapter, adapter}, {adapter, adapter}});
  }
  /// An operator whose outputs have no gradient, or which cannot record.
  template <class Adapter>
  void without_gradient(const std::string& operator_name, const Adapter& adapter) {
    insert(operator_name, Entry{{adapter, nullptr}, {adapter, nullptr}});
  }

  /// Null for an operator that is not here.
  const Entry* find(std::string_view operator_name) const {
    const auto found = entries_.find(operator_name);
    return found == entries_.end() ? nullptr : &found->second;
  }

 private:
  void insert(const std::string& operator_name, Entry entry) {
    if (!entries_.emplace(operator_name, std::move(entry)).second)
      throw std::logic_error("two adapters for " + operator_name);
  }

  std::map<std::string, Entry, std::less<>> entries_;
};

/// What fills the registry: each file of adapters names its function once, `const Adapters kChannel{add_channel};`.
class Adapters {
 public:
  explicit Adapters(void (*add)(Registry&)) { all().push_back(add); }

  static void add_to(Registry& registry) {
    for (const auto add : all()) add(registry);
  }

 private:
  static std::vector<void (*)(Registry&)>& all() {
    static std::vector<void (*)(Registry&)> list;
    return list;
  }
};

}  // namespace conformance
