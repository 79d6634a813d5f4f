// SPDX-License-Identifier: Apache-2.0
// The protocol by which an operator shows its parameters: what loading, counting, gradients and conformance are made
// of.
//
//   template <class T>
//   struct ChannelGate {
//     Tensor<T, 2> weight;
//     Tensor<T, 1> bias;
//     LayerNorm<T> norm;                                // itself an operator or a layer
//
//     template <class F>
//     void for_each_parameter(F&& f) {
//       f("fc.weight", weight);                         // always there
//       f("fc.bias", bias, heed::optional);             // empty (size 0) when the operator has none
//       heed::visit_part("norm.", norm, f);             // norm.weight, norm.bias
//     }
//   };
//
// Every parameter that an operator can have is visited, in a fixed order, whether it is there or not. A name is alive
// only during the call. The member is not const, so that it is written once; a const operator is read through the free
// function for_each_parameter, which hands out const tensors.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "heed/core/tensor.hpp"

namespace heed {

/// Marks a parameter that may be absent: f(name, tensor, heed::optional). Absent is a tensor of size 0.
struct OptionalTag {
  explicit OptionalTag() = default;
};
inline constexpr OptionalTag optional{};

inline namespace HEED_ISA {

namespace detail {

struct IgnoreParameter {
  template <class X>
  void operator()(std::string_view, X&) const {}
  template <class X>
  void operator()(std::string_view, X&, OptionalTag) const {}
};

// Out of line: visitors join names for every parameter of every operator.
HEED_NOINLINE inline std::string joined(std::string_view prefix, std::string_view name) {
  return std::string(prefix).append(name);
}

// What an operator's member is called with: it adds const where the operator is const, and lets a visitor that treats
// all parameters alike take two arguments.
template <bool Const, class F>
struct ParameterVisitor {
  F& f;

  template <class X>
  void operator()(std::string_view name, X& tensor) const {
    f(name, constness(tensor));
  }
  template <class X>
  void operator()(std::string_view name, X& tensor, OptionalTag tag) const {
    if constexpr (std::is_invocable_v<F&, std::string_view, decltype(constness(tensor)), OptionalTag>)
      f(name, constness(tensor), tag);
    else
      f(name, constness(tensor));
  }

 private:
  template <class X>
  static std::conditional_t<Const, const X&, X&> constness(X& tensor) {
    return tensor;
  }
};

// What a part's member is called with: names stand behind a prefix, and all parameters are optional where the part is.
// A part of a part joins the prefixes and keeps the type, so that a layer's member is compiled once for a visitor and
// not for every place that the layer stands in.
template <class F, bool kOptional>
struct PartVisitor {
  std::string prefix;
  F& f;

  template <class X>
  void operator()(std::string_view name, X& tensor) const {
    if constexpr (kOptional)
      f(joined(prefix, name), tensor, optional);
    else
      f(joined(prefix, name), tensor);
  }
  template <class X>
  void operator()(std::string_view name, X& tensor, OptionalTag tag) const {
    f(joined(prefix, name), tensor, tag);
  }
};

template <bool kOptional, class F>
PartVisitor<F, kOptional> part_visitor(std::string_view prefix, F& f) {
  return {std::string(prefix), f};
}
template <bool kOptional, class F, bool kWhole>
PartVisitor<F, kOptional || kWhole> part_visitor(std::string_view prefix, PartVisitor<F, kWhole>& outer) {
  return {joined(outer.prefix, prefix), outer.f};
}

}  // namespace detail

/// An operator or layer with `for_each_parameter(f)`, as above.
template <class Op>
concept HasParameters = requires(std::remove_const_t<Op>& op, detail::IgnoreParameter& f) {
  op.for_each_parameter(f);
};

/// Calls f(name, tensor) for every parameter, and f(name, tensor, heed::optional) for the optional ones if f takes
/// that.
template <HasParameters Op, class F>
void for_each_parameter(Op& op, F&& f) {
  // A member that only calls its visitor writes nothing, and the visitor sees const tensors: the cast breaks no
  // promise.
  const_cast<std::remove_const_t<Op>&>(op).for_each_parameter(
      detail::ParameterVisitor<std::is_const_v<Op>, std::remove_reference_t<F>>{f});
}

/// The parameters of a part of an operator, their names behind `prefix`.
template <HasParameters Part, class F>
void visit_part(std::string_view prefix, Part& part, F&& f) {
  auto behind_prefix = detail::part_visitor<false>(prefix, f);
  part.for_each_parameter(behind_prefix);
}

/// The same of several parts, in order: visit_parts(f, "q.", q, "k.", k).
template <class F, HasParameters Part, class... Rest>
void visit_parts(F&& f, std::string_view prefix, Part& part, Rest&&... rest) {
  visit_part(prefix, part, f);
  if constexpr (sizeof...(Rest) > 0) visit_parts(f, rest...);
}

/// The parameters of a part that may be absent as a whole: all of them become optional.
template <HasParameters Part, class F>
void visit_part(std::string_view prefix, Part& part, F&& f, OptionalTag) {
  auto as_optional = detail::part_visitor<true>(prefix, f);
  part.for_each_parameter(as_optional);
}

/// How many numbers the parameters of an operator hold.
template <HasParameters Op>
Index count_parameters(const Op& op) {
  Index count = 0;
  for_each_parameter(op, [&](std::string_view, const auto& tensor) { count += Index(tensor.size()); });
  return count;
}

}  // namespace HEED_ISA
}  // namespace heed
