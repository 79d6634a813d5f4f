// SPDX-License-Identifier: Apache-2.0
// Options from attributes, and an operator of one map: for the adapters of any family.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "case.hpp"

namespace conformance {

/// An attribute, where the file has it: one that it leaves out is the operator's own.
template <class C>
void read(const C& c, std::string_view name, Index& option) {
  if (c.has_attr(name)) option = c.integer(name);
}
template <class C>
void read(const C& c, std::string_view name, double& option) {
  if (c.has_attr(name)) option = c.number(name);
}
template <class C>
void read(const C& c, std::string_view name, bool& option) {
  if (c.has_attr(name)) option = c.flag(name);
}

/// The choice that an attribute names.
template <class C, class Choice>
void choose(const C& c, std::string_view name, Choice& option,
            std::initializer_list<std::pair<std::string_view, Choice>> choices) {
  if (!c.has_attr(name)) return;
  const std::string text = c.text(name);
  for (const auto& [known, choice] : choices)
    if (known == text) {
      option = choice;
      return;
    }
  throw std::invalid_argument(std::string(name) + " cannot be " + text);
}

/// An operator of one map.
template <class C, class Op>
void run(C& c, Op& op) {
  c.parameters(op);
  c.out("out", op(c.in(rank<4>, "x")));
}

}  // namespace conformance
