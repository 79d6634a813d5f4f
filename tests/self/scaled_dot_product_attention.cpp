// SPDX-License-Identifier: Apache-2.0
#include "heed/self/scaled_dot_product_attention.hpp"

#include <cstring>
#include <string>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::CausalAlignment;
using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_mask;
using heed::test::random_tensor;

namespace {

template <class T>
using Attention = heed::ScaledDotProductAttention<T>;

template <class T>
inline constexpr double kTolerance = std::same_as<T, float> ? 2e-5 : 1e-12;

struct Shape {
  Index B, H, Hk, N, M, D, Dv;
};

// The tensors of one call; an input is there when it has elements, or for segments a batch.
template <class T>
struct Case {
  Shape s;
  Attention<T> attend;
  Tensor<T, 4> q, k, v, bias;
  Tensor<std::uint8_t, 4> mask;
  Tensor<std::int32_t, 2> q_segment, kv_segment;
  Tensor<std::int32_t, 1> kv_len, prefix_len;

  Case(const Shape& shape, unsigned seed)
      : s(shape),
        q(random_tensor<T, 4>({s.B, s.H, s.N, s.D}, seed)),
        k(random_tensor<T, 4>({s.B, s.Hk, s.M, s.D}, seed + 1)),
        v(random_tensor<T, 4>({s.B, s.Hk, s.M, s.Dv}, seed + 2)) {}

  typename Attention<T>::Inputs inputs() const {
    typename Attention<T>::Inputs in;
    if (mask.size() > 0) in.attn_mask = mask;
    if (bias.size() > 0) in.attn_bias = bias;
    if (q_segment.dimension(0) > 0) in.q_segment = q_segment;
    if (kv_segment.dimension(0) > 0) in.kv_segment = kv_segment;
    if (kv_len.size() > 0) in.kv_len = kv_len;
    if (prefix_len.size() > 0) in.prefix_len = prefix_len;
    return in;
  }

  Index position(Index b, Index i) const {
    if (attend.options.causal_alignment == CausalAlignment::kTopLeft) return i;
    return i + (kv_len.size() > 0 ? kv_len(b) : s.M) - s.N;
  }

  // The second item of the definition, word by word.
  bool visible(Index b, Index h, Index i, Index j) const {
    const auto& o = attend.options;
    const auto pair = [&](const auto& x) {
      const auto at = [&](std::size_t axis, Index index) { return x.dimension(axis) == 1 ? Index(0) : index; };
      return x(at(0, b), at(1, h), at(2, i), at(3, j));
    };
    const Index p = position(b, i);
    if (kv_len.size() > 0 && j >= kv_len(b)) return false;
    if (o.causal && j > p && !(prefix_len.size() > 0 && j < prefix_len(b))) return false;
    const bool in_window =
        (o.window_left < 0 || p - j <= o.window_left) && (o.window_right < 0 || j - p <= o.window_right);
    if (!in_window && j >= o.sink_tokens) return false;
    if (mask.size() > 0 && pair(mask) == 0) return false;
    if (q_segment.size() > 0 && q_segment(b, i) != kv_segment(b, j)) return false;
    return bias.size() == 0 || double(pair(bias)) != -heed::test::kInfinity;
  }

  NaiveAttention::Result reference() const {
    NaiveAttention naive;
    naive.scale = attend.options.scale;
    naive.visible = [this](Index b, Index h, Index i, Index j) { return visible(b, h, i, j); };
    naive.score = [this](double x, Index b, Index h, Index i, Index j) {
      const double cap = attend.options.softcap;
      if (cap > 0) x = cap * std::tanh(x / cap);
      if (attend.alibi_slopes.size() > 0) x -= double(attend.alibi_slopes(h)) * std::abs(double(position(b, i) - j));
      const auto at = [&](std::size_t axis, Index index) { return bias.dimension(axis) == 1 ? Index(0) : index; };
      if (bias.size() > 0) x += double(bias(at(0, b), at(1, h), at(2, i), at(3, j)));
      return x;
    };
    if (attend.sink_logit.size() > 0)
      naive.extra_logit = [this](Index, Index h) { return double(attend.sink_logit(h)); };
    return naive(q, k, v);
  }

  // NaN in what no query sees.
  void poison_hidden() {
    heed::test::poison<T>(k, v, [this](Index b, Index hk, Index j) {
      for (Index h = hk * s.H / s.Hk; h < (hk + 1) * s.H / s.Hk; ++h)
        for (Index i = 0; i < s.N; ++i)
          if (visible(b, h, i, j)) return false;
      return true;
    });
  }

  void check() const {
    Tensor<T, 4> out(s.B, s.H, s.N, s.Dv);
    Tensor<T, 3> lse(s.B, s.H, s.N);
    out.setConstant(T(heed::test::kNaN));
    lse.setConstant(T(heed::test::kNaN));
    attend(Eigen::DefaultDevice(), q, k, v, inputs(), heed::into(out, lse));
    const auto want = reference();
    CHECK(error_of(out, want.out) < kTolerance<T>);
    CHECK(error_of(lse, want.lse) < kTolerance<T>);
  }
};

constexpr Shape kShapes[] = {{1, 1, 1, 1, 1, 1, 1},    {2, 4, 2, 17, 33, 8, 5},   {1, 2, 1, 63, 17, 3, 16},
                             {2, 2, 2, 3, 130, 17, 4}, {1, 3, 1, 100, 100, 4, 7}, {1, 2, 2, 5, 0, 4, 3},
                             {1, 2, 2, 0, 9, 4, 3},    {3, 6, 3, 1, 70, 16, 16}};

template <class T>
void add_inputs(Case<T>& c, unsigned bits, unsigned seed) {
  const auto& [B, H, Hk, N, M, D, Dv] = c.s;
  const auto lengths = [seed, batch = B](Index low, Index high) {
    Tensor<std::int32_t, 1> x(batch);
    for (Index b = 0; b < batch; ++b) x(b) = std::int32_t(low + (seed + 7 * unsigned(b)) % unsigned(high - low + 1));
    return x;
  };
  if (bits & 1u) c.attend.options.softcap = 1.5;
  if (bits & 2u) c.attend.alibi_slopes = random_tensor<T, 1>({H}, seed + 3, 0.1);
  if (bits & 4u) {
    c.bias = random_tensor<T, 4>({seed % 2 ? B : 1, seed % 3 ? H : 1, seed % 5 ? N : 1, M}, seed + 4);
    for (Index x = 0; x < c.bias.size(); x += 3) c.bias.data()[x] = T(-heed::test::kInfinity);
  }
  if (bits & 8u) c.attend.sink_logit = random_tensor<T, 1>({H}, seed + 5);
  if (bits & 16u) c.kv_len = lengths(M / 3, M);
  if (bits & 32u) c.attend.options.causal = true;
  if (bits & 64u) c.prefix_len = lengths(0, M / 2);
  if (bits & 128u) c.attend.options.window_left = Index(seed % 7);
  if (bits & 256u) c.attend.options.window_right = Index(seed % 5);
  if (bits & 512u) c.attend.options.sink_tokens = Index(seed % 4);
  if (bits & 1024u) c.mask = random_mask<4>({B, seed % 2 ? 1 : H, seed % 3 ? N : 1, M}, seed + 6, 0.7);
  if (bits & 2048u) {
    c.q_segment.resize(B, N);
    c.kv_segment.resize(B, M);
    for (Index b = 0; b < B; ++b) {
      for (Index i = 0; i < N; ++i) c.q_segment(b, i) = std::int32_t(i / 20);
      for (Index j = 0; j < M; ++j) c.kv_segment(b, j) = std::int32_t(j / 23);
    }
  }
  if (bits & 4096u) c.attend.options.causal_alignment = CausalAlignment::kTopLeft;
  if (bits & 8192u) c.attend.options.scale = 0.3;
}

}  // namespace

TEMPLATE_TEST_CASE("scaled_dot_product_attention: each option alone", "", float, double) {
  for (unsigned bit = 0; bit <= 14; ++bit)
    for (const Shape& shape : kShapes) {
      CAPTURE(bit, shape.N, shape.M);
      Case<TestType> c(shape, bit);
      add_inputs(c, bit == 14 ? 0u : 1u << bit, 11 * bit + 1);
      c.check();
    }
}

TEMPLATE_TEST_CASE("scaled_dot_product_attention: options together, NaN in what is hidden", "", float, double) {
  std::mt19937 engine(3);
  for (unsigned seed = 0; seed < 120; ++seed) {
    const Shape& shape = kShapes[seed % std::size(kShapes)];
    const unsigned bits = unsigned(engine()) & (seed % 2 ? unsigned(engine()) : ~0u) & 16383u;
    CAPTURE(seed, bits, shape.N, shape.M);
    Case<TestType> c(shape, seed);
    add_inputs(c, bits, seed);
    c.poison_hidden();
    c.check();
  }
}

TEST_CASE("scaled_dot_product_attention: what relaxes what") {
  Case<double> c({1, 1, 1, 12, 12, 4, 4}, 1);
  c.attend.options.causal = true;
  c.attend.options.window_left = 2;
  c.attend.options.window_right = 3;
  c.prefix_len.resize(1);
  c.prefix_len(0) = 8;
  SECTION("a prefix shows keys to come, but none beyond the window") {
    CHECK(c.visible(0, 0, 4, 7));
    CHECK_FALSE(c.visible(0, 0, 4, 8));
    CHECK_FALSE(c.visible(0, 0, 2, 6));
    c.check();
  }
  SECTION("sink tokens are seen out of the window, but not before their time") {
    c.attend.options.sink_tokens = 2;
    c.prefix_len.resize(0);
    CHECK(c.visible(0, 0, 11, 1));
    CHECK_FALSE(c.visible(0, 0, 0, 1));
    c.check();
  }
}

TEST_CASE("scaled_dot_product_attention: rows that see nothing") {
  Case<float> c({1, 2, 1, 9, 4, 8, 3}, 2);
  c.attend.options.causal = true;
  c.attend.options.return_lse = true;
  SECTION("give 0 and -infinity") {
    const auto result = c.attend(c.q, c.k, c.v);
    for (Index i = 0; i < 5; ++i) {
      CHECK(result.lse(0, 1, i) == -std::numeric_limits<float>::infinity());
      for (Index d = 0; d < 3; ++d) CHECK(result.out(0, 1, i, d) == 0);
    }
    CHECK(std::isfinite(result.lse(0, 1, 5)));
  }
  SECTION("and the sink's logit where there is one") {
    c.attend.sink_logit.resize(2);
    c.attend.sink_logit.setValues({0.25f, -3.f});
    const auto result = c.attend(c.q, c.k, c.v);
    for (Index h = 0; h < 2; ++h) {
      CHECK(std::abs(result.lse(0, h, 0) - c.attend.sink_logit(h)) < 1e-6f);
      CHECK(result.out(0, h, 0, 0) == 0);
    }
  }
}

TEST_CASE("scaled_dot_product_attention: laws") {
  Case<double> c({2, 4, 2, 40, 70, 9, 6}, 5);
  c.attend.options.return_lse = true;
  const auto plain = c.attend(c.q, c.k, c.v);
  SECTION("a window of everything hides nothing") {
    c.attend.options.window_left = 70;
    c.attend.options.window_right = 70;
    CHECK(error_of(c.attend(c.q, c.k, c.v).out, plain.out) < 1e-14);
  }
  SECTION("a bias that is one number shifts lse alone") {
    c.bias.resize(1, 1, 1, 1);
    c.bias.setConstant(2.5);
    const auto shifted = c.attend(c.q, c.k, c.v, c.inputs());
    CHECK(error_of(shifted.out, plain.out) < 1e-14);
    CHECK(error_of(Tensor<double, 3>(shifted.lse - 2.5), plain.lse) < 1e-13);
  }
  SECTION("kv_len is the shorter tensor") {
    c.kv_len.resize(2);
    c.kv_len.setConstant(51);
    c.attend.options.causal = true;
    const auto all = c.attend(c.q, c.k, c.v, c.inputs());
    const auto some = c.attend(c.q, heed::view(c.k).slice(2, 0, 51), heed::view(c.v).slice(2, 0, 51));
    CHECK(error_of(all.out, some.out) < 1e-14);
  }
  SECTION("prefix_len without causal says nothing") {
    c.prefix_len.resize(2);
    c.prefix_len.setConstant(3);
    CHECK(error_of(c.attend(c.q, c.k, c.v, c.inputs()).out, plain.out) == 0);
  }
  SECTION("aligned at the top left a square is the same") {
    Case<double> square({1, 2, 1, 33, 33, 4, 4}, 6);
    square.attend.options.causal = true;
    const auto right = square.attend(square.q, square.k, square.v);
    square.attend.options.causal_alignment = CausalAlignment::kTopLeft;
    CHECK(error_of(square.attend(square.q, square.k, square.v).out, right.out) == 0);
  }
}

TEST_CASE("scaled_dot_product_attention: the same bits on 1, 2 and 3 threads", "[threads]") {
  for (const unsigned bits : {0u, 32u, 0x3fffu & ~4096u}) {
    Case<float> c({2, 4, 2, 130, 200, 16, 16}, 7);
    add_inputs(c, bits, 13);
    c.attend.options.return_lse = true;
    const auto one = c.attend(c.q, c.k, c.v, c.inputs());
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      const auto more = c.attend(Eigen::ThreadPoolDevice(&pool, threads), c.q, c.k, c.v, c.inputs());
      CHECK(std::memcmp(more.out.data(), one.out.data(), sizeof(float) * std::size_t(one.out.size())) == 0);
      CHECK(std::memcmp(more.lse.data(), one.lse.data(), sizeof(float) * std::size_t(one.lse.size())) == 0);
    }
  }
}

TEST_CASE("scaled_dot_product_attention: parameters") {
  Attention<float> attend;
  std::string names;
  heed::for_each_parameter(attend, [&](std::string_view name, auto&) { names.append(name).append(" "); });
  CHECK(names == "sink_logit alibi_slopes ");
}

TEST_CASE("scaled_dot_product_attention: lse only when asked for") {
  Case<float> c({1, 1, 1, 2, 3, 4, 4}, 8);
  CHECK(c.attend(c.q, c.k, c.v).lse.size() == 0);
}

TEST_CASE("scaled_dot_product_attention: errors") {
  Case<float> c({2, 4, 2, 5, 7, 8, 3}, 9);
  const auto message = [&] {
    try {
      Tensor<float, 4> out(2, 4, 5, 3);
      out.setConstant(7);
      try {
        c.attend(Eigen::DefaultDevice(), c.q, c.k, c.v, c.inputs(), heed::into(out));
      } catch (...) {
        for (Index x = 0; x < out.size(); ++x) CHECK(out.data()[x] == 7);
        throw;
      }
    } catch (const heed::Error& error) {
      const std::string text = error.what(), name = "scaled_dot_product_attention: ";
      REQUIRE(text.starts_with(name));
      return text.substr(name.size());
    }
    return std::string("no error");
  };
  CHECK(message() == "no error");
  SECTION("k") {
    c.k.resize(2, 2, 7, 9);
    CHECK(message() == "k must have shape (B, Hk, M, D) = (2, Hk, M, 8), got (2, 2, 7, 9)");
  }
  SECTION("v") {
    c.v.resize(2, 2, 6, 3);
    CHECK(message() == "v must have shape (B, Hk, M, Dv) = (2, 2, 7, Dv), got (2, 2, 6, 3)");
  }
  SECTION("heads") {
    c.k.resize(2, 3, 7, 8);
    c.v.resize(2, 3, 7, 3);
    CHECK(message() == "the number of heads of q, 4, must be a multiple of that of k and v, 3");
  }
  SECTION("widths") {
    c.v.resize(2, 2, 7, 0);
    CHECK(message() == "D and Dv must be 1 or more, got 8 and 0");
  }
  SECTION("scale") {
    c.attend.options.scale = heed::test::kInfinity;
    CHECK(message() == "scale must be finite, got inf");
    c.attend.options.scale = 1e300;
    CHECK(message() == "scale must be finite, got 1e+300");
  }
  SECTION("softcap") {
    c.attend.options.softcap = -1;
    CHECK(message() == "softcap must be positive, or 0 for none, got -1");
  }
  SECTION("sink_tokens") {
    c.attend.options.sink_tokens = -2;
    CHECK(message() == "sink_tokens must be 0 or more, got -2");
  }
  SECTION("sink_logit") {
    c.attend.sink_logit.resize(3);
    CHECK(message() == "sink_logit must be empty or have shape (H) = (4), got (3)");
  }
  SECTION("alibi_slopes") {
    c.attend.alibi_slopes.resize(2);
    CHECK(message() == "alibi_slopes must be empty or have shape (H) = (4), got (2)");
  }
  SECTION("attn_mask") {
    c.mask.resize(2, 4, 5, 6);
    CHECK(message() == "attn_mask must be broadcastable to (2, 4, 5, 7), got (2, 4, 5, 6)");
  }
  SECTION("attn_bias") {
    c.bias.resize(3, 1, 1, 7);
    CHECK(message() == "attn_bias must be broadcastable to (2, 4, 5, 7), got (3, 1, 1, 7)");
  }
  SECTION("segments") {
    c.q_segment.resize(2, 5);
    CHECK(message() == "q_segment and kv_segment must be given together");
    c.kv_segment.resize(2, 5);
    CHECK(message() == "kv_segment must have shape (B, M) = (2, 7), got (2, 5)");
    c.q_segment.resize(1, 5);
    CHECK(message() == "q_segment must have shape (B, N) = (2, 5), got (1, 5)");
  }
  SECTION("kv_len") {
    c.kv_len.resize(1);
    CHECK(message() == "kv_len must have shape (B) = (2), got (1)");
    c.kv_len.resize(2);
    c.kv_len.setValues({3, 8});
    CHECK(message() == "kv_len[1] must be in 0 .. M = 7, got 8");
  }
  SECTION("prefix_len") {
    c.prefix_len.resize(3);
    CHECK(message() == "prefix_len must have shape (B) = (2), got (3)");
  }
  SECTION("out and lse") {
    Tensor<float, 4> out(2, 4, 5, 4), right(2, 4, 5, 3);
    Tensor<float, 3> lse(2, 4, 4);
    CHECK_THROWS_WITH(
        c.attend(Eigen::DefaultDevice(), c.q, c.k, c.v, {}, heed::into(out)),
        "scaled_dot_product_attention: out must have shape (B, H, N, Dv) = (2, 4, 5, 3), got (2, 4, 5, 4)");
    CHECK_THROWS_WITH(c.attend(Eigen::DefaultDevice(), c.q, c.k, c.v, {}, heed::into(right, lse)),
                      "scaled_dot_product_attention: lse must have shape (B, H, N) = (2, 4, 5), got (2, 4, 4)");
    Tensor<float, 3> empty(2, 4, 0);
    CHECK_THROWS_WITH(c.attend(Eigen::DefaultDevice(), c.q, c.k, c.v, {}, heed::into(right, empty)),
                      "scaled_dot_product_attention: lse must have shape (B, H, N) = (2, 4, 5), got (2, 4, 0)");
  }
}
