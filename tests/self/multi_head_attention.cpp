// SPDX-License-Identifier: Apache-2.0
#include "heed/self/multi_head_attention.hpp"

#include <cstring>
#include <string>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Linear;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_mask;
using heed::test::random_tensor;

namespace {

struct Shape {
  Index B, N, M, H, Hk, D, Dv, E, Ek, Ev;
};

template <class T>
Linear<T> layer(Index out, Index in, bool bias, unsigned seed) {
  Linear<T> l{random_tensor<T, 2>({out, in}, seed, 1 / std::sqrt(double(in))), {}};
  if (bias) l.bias = random_tensor<T, 1>({out}, seed + 100);
  return l;
}

template <class T>
struct Case {
  Shape s;
  heed::MultiHeadAttention<T> attend;
  Tensor<T, 3> query, key, value;
  Tensor<std::uint8_t, 2> attn_mask, key_mask;
  bool masked = false, padded = false;

  Case(const Shape& shape, bool bias)
      : s(shape),
        query(random_tensor<T, 3>({s.B, s.N, s.E}, 1)),
        key(random_tensor<T, 3>({s.B, s.M, s.Ek}, 2)),
        value(random_tensor<T, 3>({s.B, s.M, s.Ev}, 3)) {
    attend.options.num_heads = s.H;
    attend.options.num_kv_heads = s.Hk == s.H ? 0 : s.Hk;
    attend.q = layer<T>(s.H * s.D, s.E, bias, 4);
    attend.k = layer<T>(s.Hk * s.D, s.Ek, bias, 5);
    attend.v = layer<T>(s.Hk * s.Dv, s.Ev, bias, 6);
    attend.out = layer<T>(s.E, s.H * s.Dv, bias, 7);
  }
  void mask_pairs() {
    attn_mask = random_mask<2>({s.N, s.M}, 8, 0.6);
    masked = true;
  }
  void mask_keys() {
    key_mask = random_mask<2>({s.B, s.M}, 9, 0.6);
    padded = true;
  }
  void learn_keys() {
    attend.bias_k = random_tensor<T, 1>({s.Hk * s.D}, 10);
    attend.bias_v = random_tensor<T, 1>({s.Hk * s.Dv}, 11);
  }
  typename heed::MultiHeadAttention<T>::Inputs inputs() const {
    typename heed::MultiHeadAttention<T>::Inputs in;
    if (masked) in.attn_mask = attn_mask;
    if (padded) in.key_mask = key_mask;
    return in;
  }

  static Tensor<double, 3> project(const Linear<T>& l, const Tensor<T, 3>& x) {
    const Index out = l.weight.dimension(0);
    Tensor<double, 3> y(x.dimension(0), x.dimension(1), out);
    for (Index b = 0; b < y.dimension(0); ++b)
      for (Index n = 0; n < y.dimension(1); ++n)
        for (Index o = 0; o < out; ++o) {
          y(b, n, o) = l.bias.size() > 0 ? double(l.bias(o)) : 0;
          for (Index d = 0; d < x.dimension(2); ++d) y(b, n, o) += double(l.weight(o, d)) * double(x(b, n, d));
        }
    return y;
  }
  // The rows of all keys, learned and zero ones behind the others, as (B, Hk, M', width).
  Tensor<double, 4> rows(const Tensor<double, 3>& own, const Tensor<T, 1>& learned, Index heads, Index width) const {
    const Index extra = Index(learned.size() > 0) + Index(attend.options.add_zero_attn);
    Tensor<double, 4> all(s.B, heads, own.dimension(1) + extra, width);
    all.setZero();
    for (Index b = 0; b < s.B; ++b)
      for (Index h = 0; h < heads; ++h)
        for (Index d = 0; d < width; ++d) {
          for (Index j = 0; j < own.dimension(1); ++j) all(b, h, j, d) = own(b, j, h * width + d);
          if (learned.size() > 0) all(b, h, own.dimension(1), d) = double(learned(h * width + d));
        }
    return all;
  }
  bool visible(Index b, Index i, Index j) const {
    if (j >= s.M) return true;
    return (!attend.options.causal || j <= i + s.M - s.N) && (!masked || attn_mask(i, j) != 0) &&
           (!padded || key_mask(b, j) != 0);
  }

  void check() {
    const double tolerance = std::same_as<T, float> ? 2e-5 : 1e-12;
    heed::test::NaiveAttention naive;
    naive.visible = [this](Index b, Index, Index i, Index j) { return visible(b, i, j); };
    Tensor<double, 4> q(s.B, s.H, s.N, s.D);
    const auto projected = project(attend.q, query);
    for (Index b = 0; b < s.B; ++b)
      for (Index h = 0; h < s.H; ++h)
        for (Index i = 0; i < s.N; ++i)
          for (Index d = 0; d < s.D; ++d) q(b, h, i, d) = projected(b, i, h * s.D + d);
    const auto want = naive(q, rows(project(attend.k, key), attend.bias_k, s.Hk, s.D),
                            rows(project(attend.v, value), attend.bias_v, s.Hk, s.Dv));
    Tensor<double, 3> out(s.B, s.N, s.E);
    for (Index b = 0; b < s.B; ++b)
      for (Index i = 0; i < s.N; ++i)
        for (Index e = 0; e < s.E; ++e) {
          out(b, i, e) = attend.out.bias.size() > 0 ? double(attend.out.bias(e)) : 0;
          for (Index c = 0; c < s.H * s.Dv; ++c)
            out(b, i, e) += double(attend.out.weight(e, c)) * want.out(b, c / s.Dv, i, c % s.Dv);
        }
    attend.options.return_weights = true;
    const auto got = attend(query, key, value, inputs());
    CHECK(error_of(got.out, out) < tolerance);
    CHECK(error_of(got.weights, want.weights) < tolerance);
    attend.options.return_weights = false;
    CHECK(attend(query, key, value, inputs()).weights.size() == 0);
  }
};

constexpr Shape kShapes[] = {{1, 1, 1, 1, 1, 1, 1, 1, 1, 1},       {2, 17, 17, 4, 4, 4, 4, 16, 16, 16},
                             {2, 5, 33, 4, 2, 7, 3, 12, 9, 5},     {1, 63, 20, 2, 1, 16, 8, 10, 3, 4},
                             {1, 70, 100, 3, 3, 8, 8, 24, 24, 24}, {2, 3, 0, 2, 2, 4, 4, 8, 8, 8}};

}  // namespace

TEMPLATE_TEST_CASE("multi_head_attention: every combination of its options", "", float, double) {
  for (const Shape& shape : kShapes)
    for (unsigned bits = 0; bits < 64; ++bits) {
      if (shape.N > 50 && bits % 3 != 0) continue;
      CAPTURE(shape.N, shape.M, bits);
      Case<TestType> c(shape, (bits & 1u) != 0);
      c.attend.options.causal = (bits & 2u) != 0;
      c.attend.options.add_zero_attn = (bits & 4u) != 0;
      if (bits & 8u) c.learn_keys();
      if (bits & 16u) c.mask_pairs();
      if (bits & 32u) c.mask_keys();
      c.check();
    }
}

TEST_CASE("multi_head_attention: a row that sees no key gives the output bias") {
  Case<float> c({1, 4, 6, 2, 2, 4, 4, 8, 8, 8}, true);
  c.mask_pairs();
  for (Index j = 0; j < 6; ++j) c.attn_mask(2, j) = 0;
  c.attend.options.return_weights = true;
  const auto result = c.attend(c.query, c.key, c.value, c.inputs());
  for (Index e = 0; e < 8; ++e) CHECK(result.out(0, 2, e) == c.attend.out.bias(e));
  for (Index j = 0; j < 6; ++j) CHECK(result.weights(0, 1, 2, j) == 0);
}

TEST_CASE("multi_head_attention: NaN in a masked key is not seen") {
  Case<float> c({2, 20, 30, 4, 2, 8, 8, 16, 16, 16}, true);
  c.mask_keys();
  const auto want = c.attend(c.query, c.key, c.value, c.inputs());
  for (Index b = 0; b < 2; ++b)
    for (Index j = 0; j < 30; ++j)
      if (!c.key_mask(b, j)) c.key(b, j, 1) = c.value(b, j, 2) = float(kNaN);
  const auto got = c.attend(c.query, c.key, c.value, c.inputs());
  CHECK(error_of(got.out, want.out) == 0);
}

TEST_CASE("multi_head_attention: self-attention, strides, caller's memory, 16-bit inputs") {
  Case<float> c({2, 25, 25, 4, 4, 4, 4, 16, 16, 16}, true);
  const auto want = c.attend(c.query, c.query, c.query).out;
  CHECK(error_of(c.attend(c.query).out, want) == 0);
  Tensor<float, 3> wide(2, 27, 20), out(2, 25, 16);
  wide.setConstant(float(kNaN));
  const auto x = heed::view(wide).slice(1, 1, 25).slice(2, 3, 16);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 25; ++n)
      for (Index e = 0; e < 16; ++e) x(b, n, e) = c.query(b, n, e);
  out.setConstant(float(kNaN));
  c.attend(Eigen::DefaultDevice(), x, x, x, {}, out);
  CHECK(error_of(out, want) < 1e-6);
  const Tensor<heed::bfloat16, 3> narrow = c.query.cast<heed::bfloat16>();
  const Tensor<float, 3> rounded = narrow.cast<float>();
  const Tensor<heed::bfloat16, 3> narrow_want = c.attend(rounded).out.cast<heed::bfloat16>();
  CHECK(error_of(c.attend(narrow).out, narrow_want) == 0);
}

TEST_CASE("multi_head_attention: the same bits on 1, 2 and 3 threads", "[threads]") {
  Case<float> c({2, 70, 90, 4, 2, 16, 16, 64, 64, 64}, true);
  c.mask_keys();
  c.attend.options.return_weights = true;
  const auto one = c.attend(c.query, c.key, c.value, c.inputs());
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const auto more = c.attend(Eigen::ThreadPoolDevice(&pool, threads), c.query, c.key, c.value, c.inputs());
    CHECK(std::memcmp(more.out.data(), one.out.data(), sizeof(float) * std::size_t(one.out.size())) == 0);
    CHECK(std::memcmp(more.weights.data(), one.weights.data(), sizeof(float) * std::size_t(one.weights.size())) == 0);
  }
}

TEST_CASE("multi_head_attention allocates nothing after the first call of a shape") {
  Case<float> c({2, 30, 40, 4, 2, 8, 8, 32, 32, 32}, true);
  c.learn_keys();
  c.mask_keys();
  Tensor<float, 3> out(2, 30, 32);
  const auto run = [&] { c.attend(Eigen::DefaultDevice(), c.query, c.key, c.value, c.inputs(), out); };
  run();
  run();
  const auto before = heed::test::allocation_count();
  run();
  CHECK(heed::test::allocation_count() == before);
}

TEST_CASE("multi_head_attention: parameters") {
  heed::MultiHeadAttention<float> attend;
  std::string names;
  heed::for_each_parameter(attend, [&](std::string_view name, auto&) { names.append(name).append(" "); });
  CHECK(names == "q.weight q.bias k.weight k.bias v.weight v.bias out.weight out.bias bias_k bias_v ");
}

TEST_CASE("multi_head_attention: errors") {
  Case<float> c({2, 5, 7, 4, 2, 3, 6, 8, 9, 10}, true);
  c.mask_pairs();
  c.mask_keys();
  c.learn_keys();
  const auto message = [&]() -> std::string {
    try {
      c.attend(c.query, c.key, c.value, c.inputs());
    } catch (const heed::Error& error) {
      const std::string text = error.what(), name = "multi_head_attention: ";
      REQUIRE(text.starts_with(name));
      return text.substr(name.size());
    }
    return "no error";
  };
  CHECK(message() == "no error");
  SECTION("inputs") {
    c.key.resize(1, 7, 9);
    CHECK(message() == "key must have shape (B, M, Ek) with B = 2, got (1, 7, 9)");
    c.key.resize(2, 7, 9);
    c.value.resize(2, 6, 10);
    CHECK(message() == "value must have shape (B, M, Ev) = (2, 7, Ev), got (2, 6, 10)");
  }
  SECTION("heads") {
    c.attend.options.num_heads = 0;
    CHECK(message() == "num_heads must be 1 or more, got 0");
    c.attend.options.num_heads = 4;
    c.attend.options.num_kv_heads = 3;
    CHECK(message() == "num_heads = 4 must be a multiple of num_kv_heads = 3");
  }
  SECTION("weights") {
    c.query.resize(2, 5, 7);
    CHECK(message() == "q.weight must have shape (out, in) with in = 7, the last axis of query, got (12, 8)");
    c.query.resize(2, 5, 8);
    c.attend.q.weight.resize(13, 8);
    c.attend.q.bias.resize(0);
    CHECK(message() == "q.weight must have a multiple of 4 rows, one width for each head, got 13");
    c.attend.q.weight.resize(16, 8);
    CHECK(message() == "k.weight must have Hk Dq = 8 rows, got 6");
    c.attend.q.weight.resize(12, 8);
    c.attend.k.bias.resize(5);
    CHECK(message() == "k.bias must be empty or have shape (6), got (5)");
    c.attend.k.bias.resize(0);
    c.attend.out.weight.resize(8, 23);
    CHECK(message() == "out.weight must have shape (out, in) with in = 24, H Dv, got (8, 23)");
  }
  SECTION("extra keys") {
    c.attend.bias_v.resize(0);
    CHECK(message() == "bias_k and bias_v must be given together");
    c.attend.bias_v.resize(3);
    CHECK(message() == "bias_v must be empty or have shape (Hk Dv) = (12), got (3)");
    c.attend.bias_k.resize(7);
    CHECK(message() == "bias_k must be empty or have shape (Hk Dq) = (6), got (7)");
  }
  SECTION("masks") {
    c.attn_mask.resize(5, 8);
    CHECK(message() == "attn_mask must have shape (N, M) = (5, 7), got (5, 8)");
    c.masked = false;
    c.key_mask.resize(1, 7);
    CHECK(message() == "key_mask must have shape (B, M) = (2, 7), got (1, 7)");
  }
  SECTION("out") {
    Tensor<float, 3> out(2, 5, 9);
    CHECK_THROWS_WITH(c.attend(Eigen::DefaultDevice(), c.query, c.key, c.value, c.inputs(), out),
                      "multi_head_attention: out must have shape (B, N, E) = (2, 5, 8), got (2, 5, 9)");
  }
}
