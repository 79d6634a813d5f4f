// SPDX-License-Identifier: Apache-2.0
#include "heed/core/parameters.hpp"

#include <string>
#include <vector>

#include "catch.hpp"

namespace {

struct Linear {
  heed::Tensor<float, 2> weight;
  heed::Tensor<float, 1> bias;
  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }
};

struct Block {
  Linear q, norm;
  std::vector<heed::Tensor<float, 1>> memory = std::vector<heed::Tensor<float, 1>>(2);
  template <class F>
  void for_each_parameter(F&& f) {
    heed::visit_part("q.", q, f);
    heed::visit_part("norm.", norm, f, heed::optional);
    for (std::size_t i = 0; i < memory.size(); ++i) f("memory" + std::to_string(i), memory[i]);
  }
};

struct Nested {
  Block attn;
  template <class F>
  void for_each_parameter(F&& f) {
    heed::visit_part("attn.", attn, f);
  }
};

struct Pair {
  Linear first, second;
  template <class F>
  void for_each_parameter(F&& f) {
    heed::visit_parts(f, "first.", first, "second.", second);
  }
};

struct Names {
  std::string seen;
  void operator()(std::string_view name, const auto&) { seen.append(name).append(" "); }
  void operator()(std::string_view name, const auto&, heed::OptionalTag) { seen.append(name).append("? "); }
};

}  // namespace

static_assert(heed::HasParameters<Nested> && heed::HasParameters<const Nested> && !heed::HasParameters<int>);

TEST_CASE("parameters are visited in order, with the names of their parts and whether they are optional") {
  const Nested op;
  Names names;
  heed::for_each_parameter(op, names);
  CHECK(names.seen == "attn.q.weight attn.q.bias? attn.norm.weight? attn.norm.bias? attn.memory0 attn.memory1 ");
  const Pair pair;
  names.seen.clear();
  heed::for_each_parameter(pair, names);
  CHECK(names.seen == "first.weight first.bias? second.weight second.bias? ");
}

TEST_CASE(
    "a visitor that treats all parameters alike takes two arguments, and writes where the operator may be written") {
  Nested op;
  int visited = 0;
  heed::for_each_parameter(op, [&](std::string_view name, auto& tensor) {
    ++visited;
    if (name == "attn.q.weight") tensor = std::remove_reference_t<decltype(tensor)>();
  });
  CHECK(visited == 6);
  heed::for_each_parameter(std::as_const(op), [](std::string_view, auto& tensor) {
    static_assert(std::is_const_v<std::remove_reference_t<decltype(tensor)>>);
  });
}

TEST_CASE("count_parameters counts numbers; absent parameters have none") {
  Nested op;
  CHECK(heed::count_parameters(op) == 0);
  op.attn.q.weight.resize(3, 4);
  op.attn.memory[1].resize(5);
  CHECK(heed::count_parameters(op) == 17);
}
