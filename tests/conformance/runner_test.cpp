// SPDX-License-Identifier: Apache-2.0
// The runner against doctored cases: it must say ok, FAIL and MISSING where each is due.
#include "runner.hpp"

#include <cmath>
#include <sstream>

#include "catch.hpp"
#include "support/safetensors_writer.hpp"

namespace {

using conformance::rank;
using conformance::Result;
using heed::test::SafetensorsWriter;

const heed::test::TemporaryFolder folder;

template <class T>
struct Scale {
  heed::Tensor<T, 1> weight, bias;
  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }
};

// scale_shift: out = factor * weight * x (+ bias), count = how many elements.
conformance::Registry registry(double fault = 0, double shift_count = 0) {
  conformance::Registry add;
  add("scale_shift", [=]<class C>(C& c) {
    using T = conformance::Scalar<C>;
    Scale<T> op;
    c.parameters(op);
    const auto x = c.in(rank<1>, "x");
    heed::Tensor<T, 1> faults(2), none(2);
    faults.setValues({0, T(fault)});
    none.setZero();
    const auto scaled = heed::scale(heed::multiply(x, op.weight), c.number("factor"));
    const auto out = heed::add(heed::add(scaled, op.bias.size() > 0 ? op.bias : none), faults);
    c.out("out", out);
    c.out("count", std::int64_t(double(heed::sizes_of(x)[0]) + shift_count));
    c.out("not_in_the_file", out);
  });
  add.without_gradient("flat", [](auto& c) { c.out("out", c.in(rank<1>, "x")); });
  add("restless", []<class C>(C& c) {
    const auto x = c.in(rank<1>, "x");
    const auto out = heed::scale(x, 1);
    if constexpr (heed::Recorded<decltype(x)>)
      x.tape()->on_backward(out, [x] {
        auto& tape = *x.tape();
        const auto d = tape.accumulate(x);
        d(0) += conformance::Scalar<C>(heed::thread_count(tape.device()) - 1);
      });
    c.out("out", out);
  });
  add("silent", [](auto&) {});
  add("throws", [](auto&) { heed::fail("throws", "q: expected"); });
  add("misshapen", [](auto& c) { c.out("out", std::vector<float>(4)); });
  add("reads", [](auto& c) {
    const auto mask = c.mask(rank<2>, "mask");
    const auto index = c.indices(rank<1>, "index");
    CHECK((mask(0, 1) == 1 && index(0) == -3 && c.has_in("mask") && !c.has_in("q") && c.has_out("out")));
    CHECK((c.flag("flag") && c.integer("integer") == -1 && c.number("integer") == -1 && c.text("text") == "a b"));
    CHECK((!c.has_attr("null") && !c.has_attr("absent") && c.number_or_null("null") == std::nullopt));
    CHECK(c.integers("integer") == std::vector<heed::Index>{-1});
    CHECK(c.integers("list") == std::vector<heed::Index>{1, 2});
    CHECK(c.integer_lists("lists") == std::vector<std::vector<heed::Index>>{{7}, {8, 9}});
    CHECK(c.texts("text") == std::vector<std::string>{"a b"});
    CHECK_THROWS(c.integer("null"));
    CHECK_THROWS(c.flag("integer"));
    CHECK_THROWS(c.integer("number"));
    CHECK_THROWS(c.integers("lists"));
    CHECK_THROWS(c.in(rank<1>, "q"));
    heed::View<const std::uint8_t, 2> transposed(mask);
    c.out("out", transposed.permute({1, 0}));
  });
  return add;
}

std::string write(const std::string& name, SafetensorsWriter writer, const std::string& operator_name,
                  const std::string& attrs = "{}") {
  writer.metadata("format", "1").metadata("operator", operator_name).metadata("attrs", attrs);
  const std::string path = folder / (name + ".safetensors");
  writer.write(path);
  return path;
}

std::string scale_shift(double wanted = 2.25, bool bias = true, double d_weight = -8) {
  SafetensorsWriter writer;
  writer.add<float>("in.x", "F32", {2}, {1, -1}).add<float>("param.weight", "F32", {2}, {0.5f, 0.25f});
  if (bias) writer.add<float>("param.bias", "F32", {2}, {0.5f, 3.25f});
  writer.add<double>("out.out", "F64", {2}, {2.5, wanted}).add<std::int32_t>("out.count", "I32", {}, {2});
  writer.add<float>("cot.out", "F32", {2}, {1, 2}).add<double>("grad.in.x", "F64", {2}, {2, 2});
  writer.add<double>("grad.param.weight", "F64", {2}, {4, d_weight});
  if (bias) writer.add<double>("grad.param.bias", "F64", {2}, {1, 2});
  return write("scale_shift.case.v1", writer, "scale_shift", R"({"factor": 4.0, "other": null})");
}

Result run(const std::string& path, const conformance::Registry& add = registry(), bool in_double = false,
           bool grad = false) {
  return conformance::run_case(add, path, {{}, grad, in_double});
}
Result run_gradients(const std::string& path, bool in_double = false) { return run(path, registry(), in_double, true); }

std::string line(const Result& result) {
  std::ostringstream text;
  text << result;
  return text.str();
}

}  // namespace

TEST_CASE("a right answer is ok, in float and in double") {
  CHECK(line(run(scale_shift())) == "scale_shift.case.v1 ok out.out 0 2e-05");
  CHECK(line(run(scale_shift(), registry(), true)) == "scale_shift.case.v1 ok out.out 0 1e-11");
}

TEST_CASE("a wrong answer fails, by the tolerance of the type it ran in") {
  // The largest wanted value is 2.5: an error e counts as e / 3.5.
  CHECK(line(run(scale_shift(), registry(1))) == "scale_shift.case.v1 FAIL out.out 0.285714 2e-05");
  CHECK(run(scale_shift(), registry(6.8e-5)).status == Result::Status::ok);
  CHECK(run(scale_shift(), registry(7.2e-5)).status == Result::Status::failed);
  CHECK(run(scale_shift(), registry(3.4e-11), true).status == Result::Status::ok);
  CHECK(run(scale_shift(), registry(3.6e-11), true).status == Result::Status::failed);
  CHECK(run(scale_shift(2.25, false)).status == Result::Status::failed);
}

TEST_CASE("integers must be equal") {
  CHECK(line(run(scale_shift(), registry(0, 1))) == "scale_shift.case.v1 FAIL out.count 1 0");
}

TEST_CASE("NaN never passes, and an infinity only against itself") {
  const double nan = std::nan("");
  CHECK(run(scale_shift(), registry(nan)).status == Result::Status::failed);
  CHECK(run(scale_shift(nan)).status == Result::Status::failed);
  CHECK(run(scale_shift(nan), registry(nan)).status == Result::Status::failed);
  CHECK(run(scale_shift(), registry(INFINITY)).status == Result::Status::failed);
  CHECK(run(scale_shift(-INFINITY), registry(INFINITY)).status == Result::Status::failed);
  CHECK(run(scale_shift(-INFINITY)).status == Result::Status::failed);
  CHECK(run(scale_shift(-INFINITY), registry(-INFINITY)).status == Result::Status::ok);
}

TEST_CASE("gradients are compared when asked for") {
  CHECK(line(run_gradients(scale_shift())) == "scale_shift.case.v1 ok grad.in.x 0 0.0001");
  CHECK(line(run_gradients(scale_shift(), true)) == "scale_shift.case.v1 ok grad.in.x 0 1e-10");
  // The largest wanted value is 8: an error e counts as e / 9.
  CHECK(line(run_gradients(scale_shift(2.25, true, -7.1))) ==
        "scale_shift.case.v1 FAIL grad.param.weight 0.111111 0.0001");
  CHECK(run(scale_shift(2.25, true, -7.1)).status == Result::Status::ok);
  CHECK(run_gradients(scale_shift(2.25, true, -8 + 8.8e-4)).status == Result::Status::ok);
  CHECK(run_gradients(scale_shift(2.25, true, -8 + 9.2e-4)).status == Result::Status::failed);
  CHECK(run_gradients(scale_shift(2.25, true, -8 + 8.8e-10), true).status == Result::Status::ok);
  CHECK(run_gradients(scale_shift(2.25, true, -8 + 9.2e-10), true).status == Result::Status::failed);
  CHECK(run_gradients(scale_shift(2.5)).status == Result::Status::failed);
}

TEST_CASE("gradients that never come fail, and so does an operator that has none") {
  const auto with_gradient = [](const std::string& operator_name) {
    SafetensorsWriter writer;
    writer.add<float>("in.x", "F32", {1}, {1}).add<double>("out.out", "F64", {1}, {1});
    writer.add<float>("cot.out", "F32", {1}, {1}).add<double>("grad.in.x", "F64", {1}, {1});
    return write(operator_name, writer, operator_name);
  };
  CHECK(run_gradients(with_gradient("silent")).notes == std::vector<std::string>{"grad.in.x: was not computed",
                                                                                 "out.out: was not computed",
                                                                                 "the adapter never asked for in.x"});
  CHECK(line(run(with_gradient("flat"))) == "flat ok out.out 0 2e-05");
  CHECK(run_gradients(with_gradient("flat")).notes ==
        std::vector<std::string>{"the case has gradients, the operator has none"});
}

TEST_CASE("gradients that depend on the number of threads fail") {
  SafetensorsWriter writer;
  writer.add<float>("in.x", "F32", {1}, {1}).add<double>("out.out", "F64", {1}, {1});
  writer.add<float>("cot.out", "F32", {1}, {1}).add<double>("grad.in.x", "F64", {1}, {1});
  const std::string path = write("restless", writer, "restless");
  CHECK(run(path).status == Result::Status::ok);
  CHECK(line(run_gradients(path)) == "restless FAIL grad.in.x inf 0.0001");
  CHECK(run_gradients(path).notes == std::vector<std::string>{"grad.in.x: has other bits on 3 threads"});
}

TEST_CASE("an unknown operator is missing") {
  const std::string path = write("new.basic", SafetensorsWriter().add<double>("out.out", "F64", {1}, {1}), "new");
  CHECK(line(run(path)) == "new.basic MISSING - - -");
}

TEST_CASE("shapes, outputs that never come, exceptions and broken files fail with a note") {
  const auto one_output = [](const std::string& operator_name) {
    return write(operator_name, SafetensorsWriter().add<double>("out.out", "F64", {2, 2}, {0, 0, 0, 0}), operator_name);
  };
  const Result misshapen = run(one_output("misshapen"));
  CHECK(line(misshapen) == "misshapen FAIL out.out inf 2e-05");
  CHECK(misshapen.notes == std::vector<std::string>{"out.out: expected shape (2, 2), got (4)"});
  CHECK(run(one_output("silent")).notes == std::vector<std::string>{"out.out: was not computed"});
  const Result thrown = run(one_output("throws"));
  CHECK(line(thrown) == "throws FAIL - inf 2e-05");
  CHECK(thrown.notes == std::vector<std::string>{"throws: q: expected"});
  CHECK(run(write("empty", {}, "silent")).notes == std::vector<std::string>{"the case has no outputs"});
  CHECK(run(write("attrs", {}, "silent", "[1")).status == Result::Status::failed);
  heed::test::write_bytes(folder / "broken.safetensors", "broken");
  CHECK(run(folder / "broken.safetensors").status == Result::Status::failed);
}

TEST_CASE("a failure tells what the adapter never asked for") {
  const Result result = run(scale_shift(), registry(1));
  CHECK(result.notes == std::vector<std::string>{"the adapter never asked for attribute other"});
}

TEST_CASE("adapters read indices, masks and attributes") {
  SafetensorsWriter writer;
  writer.add<std::int32_t>("in.index", "I32", {1}, {-3}).add<std::uint8_t>("in.mask", "U8", {1, 2}, {0, 1});
  writer.add<std::uint8_t>("out.out", "U8", {2, 1}, {0, 1});
  const std::string attrs =
      R"({"flag": true, "integer": -1, "number": 0.5, "text": "a b", "null": null, "list": [1, 2],)"
      R"( "lists": [[7], [8, 9]]})";
  CHECK(line(run(write("reads", writer, "reads", attrs))) == "reads ok out.out 0 0");
}

TEST_CASE("a run prints a line per case and the summary, and fails only for failures") {
  const heed::test::TemporaryFolder cases;
  std::filesystem::create_directories(cases / "family");
  const auto run_all = [&](bool grad = false) {
    std::ostringstream out, log;
    const bool passed = conformance::run(registry(), {{cases.path()}, grad, false}, out, log);
    return std::pair(passed, out.str() + "|" + log.str());
  };
  std::filesystem::copy(scale_shift(), cases / "family/b.safetensors");
  std::filesystem::copy(write("new", SafetensorsWriter(), "new"), cases / "family/a.safetensors");
  CHECK(run_all() ==
        std::pair(true, std::string("a MISSING - - -\nb ok out.out 0 2e-05\n1 passed, 0 failed, 1 missing\n|")));
  CHECK(run_all(true) == std::pair(true, std::string("a MISSING - - -\nb ok grad.in.x 0 0.0001\n1 passed, 0 failed, "
                                                     "1 missing\n|")));
  heed::test::write_bytes(cases / "c.safetensors", "broken");
  const auto [passed, text] = run_all();
  CHECK_FALSE(passed);
  CHECK_THAT(
      text, heed::test::contains("c FAIL - inf 2e-05\n") && heed::test::contains("\n1 passed, 1 failed, 1 missing\n|"));
  std::ostringstream none;
  CHECK_THROWS(conformance::run(registry(), {{cases / "nowhere"}, false, false}, none, none));
}
