// SPDX-License-Identifier: Apache-2.0
// From an operator's name to its adapter: the few lines that read a case, call heed and hand back the outputs.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

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
  /// What runs an operator on a case. When operators have gradients, the same adapter is also kept for the case type
  /// that records them (see Case), in two more members here.
  struct Entry {
    std::function<void(Case<float>&)> in_float;
    std::function<void(Case<double>&)> in_double;

    template <class T>
    const std::function<void(Case<T>&)>& in() const {
      if constexpr (std::same_as<T, float>)
        return in_float;
      else
        return in_double;
    }
  };

  template <class Adapter>
  void operator()(const std::string& operator_name, const Adapter& adapter) {
    if (!entries_.emplace(operator_name, Entry{adapter, adapter}).second)
      throw std::logic_error("two adapters for " + operator_name);
  }

  /// Null for an operator that is not here.
  const Entry* find(std::string_view operator_name) const {
    const auto found = entries_.find(operator_name);
    return found == entries_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

// The families, one translation unit each.
void add_self(Registry& add);
void add_cross_dual(Registry& add);
void add_channel(Registry& add);
void add_local_linear(Registry& add);
void add_sparse_routing(Registry& add);

}  // namespace conformance
