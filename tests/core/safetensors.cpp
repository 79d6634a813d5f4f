// SPDX-License-Identifier: Apache-2.0
// g++ 12 takes a length that std::string has checked for an overflow when it inlines the copy (GCC bug 105329).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif
#include "heed/core/safetensors.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"
#include "support/safetensors_writer.hpp"

using heed::test::contains;
using heed::test::safetensors_bytes;
using heed::test::SafetensorsWriter;

namespace {

const heed::test::TemporaryFolder folder;

heed::Safetensors open(const std::string& bytes) {
  const std::string path = folder / "test.safetensors";
  heed::test::write_bytes(path, bytes);
  return heed::safetensors(path);
}

heed::Safetensors open_header(const std::string& header, std::size_t data_bytes = 0) {
  return open(safetensors_bytes(header, std::string(data_bytes, '\0')));
}

template <class T>
std::vector<T> read(const heed::Safetensors& file, std::string_view name) {
  std::vector<T> values;
  file.read(name, values);
  return values;
}

SafetensorsWriter sample() {
  using Eigen::half;
  SafetensorsWriter writer;
  writer.metadata("format", "1").metadata("attrs", R"({"say": "hi\there"})");
  writer.add<double>("f64", "F64", {2, 3}, {0, -1, 1e-300, 1e300, 0.1, INFINITY});
  writer.add<float>("f32", "F32", {3}, {1.5f, -INFINITY, NAN});
  writer.add<half>("f16", "F16", {2}, {half(0.5f), half(-65504.f)});
  writer.add<Eigen::bfloat16>("bf16", "BF16", {1, 2}, {Eigen::bfloat16(3.f), Eigen::bfloat16(-0.125f)});
  writer.add<std::int64_t>("i64", "I64", {3}, {-1, 255, std::int64_t(1) << 40});
  writer.add<std::int32_t>("i32", "I32", {2}, {-7, 2147483647});
  writer.add<std::uint8_t>("u8", "U8", {2}, {0, 255});
  writer.add<std::uint8_t>("bool", "BOOL", {2}, {1, 0});
  writer.add<float>("scalar", "F32", {}, {42.f});
  writer.add<float>("empty", "F32", {4, 0, 2}, {});
  writer.add<std::uint8_t>("f8", "F8_E4M3", {1}, {3});
  return writer;
}

template <class T>
struct Linear {
  heed::Tensor<T, 2> weight;
  heed::Tensor<T, 1> bias;
  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }
};

}  // namespace

TEST_CASE("a file gives back what was written, converted") {
  const heed::Safetensors file = open(sample().bytes());
  CHECK(file.names() ==
        std::vector<std::string>{"bf16", "bool", "empty", "f16", "f32", "f64", "f8", "i32", "i64", "scalar", "u8"});
  CHECK(file.contains("f64"));
  CHECK_FALSE(file.contains("F64"));
  CHECK(file.dtype("bf16") == "BF16");
  CHECK(file.shape("empty") == std::vector<heed::Index>{4, 0, 2});
  CHECK(file.metadata("attrs") == R"({"say": "hi\there"})");
  CHECK(file.metadata("nothing") == std::nullopt);

  CHECK(read<double>(file, "f64") == std::vector<double>{0, -1, 1e-300, 1e300, 0.1, INFINITY});
  CHECK(read<float>(file, "f64")[4] == 0.1f);
  CHECK(read<double>(file, "f32")[1] == -INFINITY);
  CHECK(std::isnan(read<heed::half>(file, "f32")[2]));
  CHECK(read<double>(file, "f16") == std::vector<double>{0.5, -65504});
  CHECK(read<float>(file, "bf16") == std::vector<float>{3.f, -0.125f});
  CHECK(read<heed::bfloat16>(file, "f16")[0] == heed::bfloat16(0.5f));
  CHECK(read<std::int64_t>(file, "i64") == std::vector<std::int64_t>{-1, 255, std::int64_t(1) << 40});
  CHECK(read<float>(file, "i32") == std::vector<float>{-7, 2147483648.f});
  CHECK(read<std::int32_t>(file, "u8") == std::vector<std::int32_t>{0, 255});
  CHECK(read<std::uint8_t>(file, "bool") == std::vector<std::uint8_t>{1, 0});

  heed::Tensor<float, 2> matrix(7, 7);
  file.read("f64", matrix);
  CHECK((matrix.dimension(0) == 2 && matrix.dimension(1) == 3));
  CHECK(matrix(1, 1) == 0.1f);
  heed::Tensor<double, 0> scalar;
  file.read("scalar", scalar);
  CHECK(scalar() == 42.0);
  heed::Tensor<float, 3> empty(1, 1, 1);
  file.read("empty", empty);
  CHECK((empty.size() == 0 && empty.dimension(0) == 4));
  heed::Tensor<bool, 1> flags;
  file.read("bool", flags);
  CHECK((flags(0) && !flags(1)));
}

TEST_CASE("tensors longer than one chunk are read whole") {
  std::vector<float> values(5000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i);
  const heed::Safetensors file = open(SafetensorsWriter().add<float>("x", "F32", {5000}, values).bytes());
  CHECK(read<float>(file, "x") == values);
  CHECK(read<double>(file, "x") == std::vector<double>(values.begin(), values.end()));
}

TEST_CASE("what cannot be read is refused in plain words and leaves the target alone") {
  const heed::Safetensors file = open(sample().bytes());
  std::vector<std::int32_t> kept{5};
  CHECK_THROWS_WITH(file.read("none", kept), contains("test.safetensors: has no tensor 'none'"));
  CHECK_THROWS_WITH(file.shape("none"), contains("has no tensor 'none'"));
  CHECK_THROWS_WITH(file.read("i64", kept), contains("tensor 'i64': element 2 does not fit"));
  CHECK_THROWS_WITH(file.read("f32", kept), contains("tensor 'f32': F32 cannot be read as integers"));
  CHECK_THROWS_WITH(file.read("f8", kept), contains("tensor 'f8': F8_E4M3 cannot be read"));
  CHECK(kept == std::vector<std::int32_t>{5});
  heed::Tensor<float, 1> row(3);
  CHECK_THROWS_WITH(file.read("f64", row), contains("tensor 'f64': expected 1 axes, got shape (2, 3)"));
  CHECK(row.size() == 3);
  CHECK_THROWS_WITH(heed::safetensors(folder / "missing"), contains("missing: cannot be opened"));
  CHECK_THROWS_AS(heed::safetensors(folder.path()), heed::Error);
}

TEST_CASE("strings in a header: escapes, surrogate pairs, and what is no string") {
  const heed::Safetensors file =
      open_header(R"( { "__metadata__" : {"a\"\\\/\b\f\n\r\t" : "\u0041\u00e9\u20AC\ud83d\ude00", "":""} } )");
  CHECK(file.metadata("a\"\\/\b\f\n\r\t") == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(file.metadata("") == "");
  for (const char* text : {R"("\x")", R"("\u12g4")", R"("\ud83d")", R"("\ud83dx")", R"("\ude00")", R"("\ud83d\u0041")",
                           R"("\u12)", "\"\n\"", "\"", "\"\\", "1", "null", "{}", "[]", ""})
    CHECK_THROWS_WITH(open_header(std::string(R"({"__metadata__":{"a":)") + text + "}}"), contains("malformed header"));
}

TEST_CASE("headers that lie are refused") {
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"x":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  CHECK_NOTHROW(open_header("{}"));
  CHECK_NOTHROW(open_header(tensor("F32", "[2]", "[0,8]") + "   ", 8));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[3]", "[0,8]"), 8),
                    contains("tensor 'x': F32 of shape (3) takes 12 bytes"));
  CHECK_THROWS_WITH(open_header(tensor("F33", "[2]", "[0,8]"), 8), contains("tensor 'x': unknown dtype 'F33'"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[2]", "[0,8]"), 7), contains("ends at byte 8 of 7"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[2]", "[0,8]"), 9),
                    contains("1 bytes of data that belong to no tensor"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[2]", "[8,0]"), 8), contains("two numbers, begin and end, got (8, 0)"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[2]", "[0,4,8]"), 8), contains("two numbers"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[2]", "[4,12]"), 12),
                    contains("tensor 'x': begins at byte 4, behind a gap"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[4294967296,4294967296]", "[0,0]")), contains("is too large"));
  CHECK_THROWS_WITH(open_header(tensor("F32", "[0,4294967296,4294967296]", "[0,0]")), contains("is too large"));
  CHECK_THROWS_WITH(open_header(tensor("U8", "[9223372036854775808]", "[0,0]")), contains("a number is too large"));
  for (const char* size : {"-2", "2.0", "2e0", "02", "+2", "\"2\"", "2,", "[2]", "null"})
    CHECK_THROWS_WITH(open_header(tensor("F32", std::string("[") + size + "]", "[0,8]"), 8),
                      contains("malformed header"));
  CHECK_THROWS_WITH(open_header(R"({"x":{"dtype":"F32","shape":[]}})"),
                    contains("needs dtype, shape and data_offsets"));
  CHECK_THROWS_WITH(open_header(R"({"x":{"dtype":"F32","dtype":"F32"}})"),
                    contains("'dtype' is unknown or twice there"));
  CHECK_THROWS_WITH(open_header(R"({"x":{"colour":"red"}})"), contains("tensor 'x': 'colour' is unknown"));
  const std::string u8 = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  CHECK_THROWS_WITH(open_header("{\"x\":" + u8 + "[0,2]},\"x\":" + u8 + "[2,4]}}", 4),
                    contains("tensor 'x' is there twice"));
  CHECK_THROWS_WITH(open_header("{\"x\":" + u8 + "[0,2]},\"y\":" + u8 + "[1,3]}}", 3),
                    contains("tensor 'y': begins at byte 1, within another tensor"));
  for (const char* header : {"", "[]", "{", "{}x", "{}{}", "{,}", R"({"a"})", R"({"a":1})", R"({"a":{},})",
                             R"({"__metadata__":{},"__metadata__":{}})", R"({"__metadata__":{"a":"","a":""}})"})
    CHECK_THROWS_AS(open_header(header), heed::Error);
}

TEST_CASE("hostile lengths and truncation are refused") {
  const std::string whole = sample().bytes();
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK_THROWS_AS(open(whole.substr(0, length)), heed::Error);
  for (const std::uint64_t length : {~std::uint64_t(0), std::uint64_t(1) << 63, std::uint64_t(1) << 40,
                                     std::uint64_t(whole.size()), std::uint64_t(whole.size() - 7), std::uint64_t(0)}) {
    std::string bytes = whole;
    for (unsigned i = 0; i < 8; ++i) bytes[i] = char(length >> (8 * i) & 0xFF);
    CHECK_THROWS_AS(open(bytes), heed::Error);
  }
}

TEST_CASE("a file that shrinks after it was opened is refused") {
  const std::string bytes = sample().bytes();
  const heed::Safetensors file = open(bytes);
  heed::test::write_bytes(file.path(), bytes.substr(0, bytes.size() - 30));
  CHECK_THROWS_WITH(read<double>(file, "i64"), contains("tensor 'i64': cannot be read"));
}

TEST_CASE("random damage gives values or heed::Error, nothing else") {
  std::mt19937 random(1);
  const std::string whole = sample().bytes();
  int survived = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    const int flips = 1 + int(random() % 4);
    for (int i = 0; i < flips; ++i) {
      char& byte = bytes[random() % bytes.size()];
      byte = random() % 2 ? char(byte ^ (1 << random() % 8)) : "{}[]\",:0189\\u"[random() % 13];
    }
    if (random() % 8 == 0) bytes.erase(random() % bytes.size(), random() % 5);
    try {
      const heed::Safetensors file = open(bytes);
      for (const std::string& name : file.names()) {
        try {
          (void)read<float>(file, name);
        } catch (const heed::Error&) {
        }
      }
      ++survived;
    } catch (const heed::Error&) {
    }
  }
  CHECK(survived > 0);
  CHECK(survived < 3000);
}

TEST_CASE("load fills an operator, all or nothing") {
  SafetensorsWriter writer;
  writer.add<float>("a.weight", "F32", {2, 2}, {1, 2, 3, 4}).add<float>("a.bias", "F32", {2}, {5, 6});
  writer.add<double>("b.weight", "F64", {1, 2}, {7, 8}).add<float>("c.bias", "F32", {2}, {5, 6});
  writer.add<float>("d.weight", "F32", {1, 2}, {9, 9}).add<float>("d.bias", "F32", {3}, {9, 9, 9});
  const heed::Safetensors file = open(writer.bytes());

  Linear<double> op;
  heed::load(op, file, "a.");
  CHECK((op.weight.dimension(0) == 2 && op.weight(1, 0) == 3 && op.bias(1) == 6));
  heed::load(op, heed::safetensors(file.path()), "a.");

  const auto unchanged = [&] { return op.weight(0, 0) == 1 && op.weight.dimension(0) == 2 && op.bias(0) == 5; };
  CHECK_THROWS_WITH(heed::load(op, file, "b."), contains("tensor 'b.weight': expected shape (2, 2), got (1, 2)"));
  CHECK(unchanged());
  CHECK_THROWS_WITH(heed::load(op, file, "c."), contains("has no tensor 'c.weight'"));
  CHECK(unchanged());
  CHECK_THROWS_WITH(heed::load(op, file), contains("has no tensor 'weight'"));
  op.weight.resize(1, 2);
  op.weight.setConstant(1);
  CHECK_THROWS_WITH(heed::load(op, file, "d."), contains("tensor 'd.bias': expected shape (2), got (3)"));
  CHECK((op.weight(0, 1) == 1 && op.bias(0) == 5));

  heed::load(op, file, "b.");  // the file has no bias: neither has the operator then
  CHECK((op.weight(0, 1) == 8 && op.bias.size() == 0));
}
