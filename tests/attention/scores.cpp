// SPDX-License-Identifier: Apache-2.0
// Score modifiers inside of the attention: against their definition, chained, and a user's own.
#include <cstring>

#include "catch.hpp"
#include "support/rules.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

struct Size {
  Index n, m;
};
constexpr Size kSizes[] = {{1, 1}, {1, 70}, {4, 33}, {5, 200}, {17, 90}, {40, 13}, {70, 130}};

using Score = std::function<double(double, Index b, Index h, Index i, Index j)>;

// B = 2, H = 4, Hk = 2, under the rule `causal()` and under none.
template <class T>
void check(Index n, Index m, const ErasedScore& modifier, const Score& definition, double tolerance = 2,
           const std::function<double(Index, Index)>& extra = nullptr) {
  CAPTURE(n, m);
  const Inputs<T> x(2, 4, 2, n, m, 5, 6, unsigned(n * 7 + m));
  for (const bool causal : {false, true}) {
    NaiveAttention naive;
    naive.score = definition;
    naive.extra_logit = extra;
    if (causal) naive.visible = [=](Index, Index, Index i, Index j) { return j <= i + m - n; };
    const auto want = naive(x.q, x.k, x.v);
    const auto got = attend_any(modifier, heed::when(causal, heed::causal()), x.q, x.k, x.v);
    CAPTURE(causal);
    CHECK(error_of(got.out, want.out) < tolerance * kTolerance<T>);
    CHECK(error_of(got.lse, want.lse) < tolerance * kTolerance<T>);
  }
}

template <class T>
void check_same(const AnyResult<T>& a, const AnyResult<T>& b) {
  CHECK(same_bits(a.out, b.out));
  CHECK(same_bits(a.lse, b.lse));
}

}  // namespace

TEMPLATE_TEST_CASE("scale_by and softcap", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    for (const double factor : {0., 1., -2.5, 7.})
      check<T>(
          n, m, heed::scale_by(factor), [=](double s, Index, Index, Index, Index) { return factor * s; }, 4);
    for (const double cap : {0.1, 1., 3.7, 30., 1e4})
      check<T>(
          n, m, heed::softcap(cap), [=](double s, Index, Index, Index, Index) { return cap * std::tanh(s / cap); }, 4);
  }
}

TEMPLATE_TEST_CASE("alibi has a slope for each query head, whatever the offset", "", float, double) {
  using T = TestType;
  Tensor<T, 1> slopes(4);
  slopes.setValues({T(0.5), T(0.25), T(0), T(-0.125)});
  for (const auto [n, m] : kSizes) {
    check<T>(
        n, m, heed::alibi(slopes),
        [&, n = n, m = m](double s, Index, Index h, Index i, Index j) {
          return s - double(slopes(h)) * double(std::abs(i + m - n - j));
        },
        20);
    for (const Index offset : {Index(-7), Index(0), Index(3), m}) {
      const Inputs<T> x(1, 4, 2, n, m, 5, 6, 3);
      NaiveAttention naive;
      naive.score = [&](double s, Index, Index h, Index i, Index j) {
        return s - double(slopes(h)) * double(std::abs(i + offset - j));
      };
      const auto want = naive(x.q, x.k, x.v);
      const auto got =
          attend_any(ErasedScore(heed::alibi(slopes)), heed::everything(), x.q, x.k, x.v, {.position_offset = offset});
      CHECK(error_of(got.out, want.out) < 20 * kTolerance<T>);
      CHECK(error_of(got.lse, want.lse) < 20 * kTolerance<T>);
    }
  }
  // Positions follow the lengths.
  const auto lengths = int_tensor({20, 33});
  const Inputs<T> x(2, 4, 2, 6, 33, 5, 6, 4);
  NaiveAttention naive;
  naive.visible = [&](Index b, Index, Index, Index j) { return j < lengths(b); };
  naive.score = [&](double s, Index b, Index h, Index i, Index j) {
    return s - double(slopes(h)) * double(std::abs(i + lengths(b) - 6 - j));
  };
  const auto want = naive(x.q, x.k, x.v);
  const auto got = attend_any(ErasedScore(heed::alibi(slopes)), heed::key_lengths(lengths), x.q, x.k, x.v);
  CHECK(error_of(got.out, want.out) < 20 * kTolerance<T>);
}

TEMPLATE_TEST_CASE("Slopes are read when the attention runs, from any storage", "", float, double) {
  using T = TestType;
  const Inputs<T> x(1, 4, 2, 18, 40, 5, 6, 5);
  Tensor<T, 1> slopes(4);
  slopes.setConstant(T(1));
  const ErasedScore modifier = heed::alibi(slopes);
  slopes.setValues({T(0.5), T(0.25), T(0), T(2)});
  Tensor<heed::bfloat16, 2> spread(4, 3);
  for (Index h = 0; h < 4; ++h) spread(h, 1) = heed::bfloat16(float(slopes(h)));
  const auto a = attend_any(modifier, heed::causal(), x.q, x.k, x.v);
  const auto b =
      attend_any(ErasedScore(heed::alibi(heed::const_view(spread).select(1, 1))), heed::causal(), x.q, x.k, x.v);
  check_same(a, b);
}

TEMPLATE_TEST_CASE("A bias of every broadcast shape and layout", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes)
    for (int axes = 0; axes < 16; ++axes) {
      CAPTURE(axes);
      const Tensor<T, 4> bias =
          random_tensor<T, 4>({axes & 1 ? 2 : 1, axes & 2 ? 4 : 1, axes & 4 ? n : 1, axes & 8 ? m : 1}, 6, 3.0);
      const auto at = [](const Tensor<T, 4>& x, Index b, Index h, Index i, Index j) {
        const auto index = [&](std::size_t axis, Index y) { return x.dimension(axis) == 1 ? Index(0) : y; };
        return double(x(index(0, b), index(1, h), index(2, i), index(3, j)));
      };
      check<T>(
          n, m, heed::bias(bias),
          [&](double s, Index b, Index h, Index i, Index j) { return s + at(bias, b, h, i, j); }, 8);
    }
  for (const auto [n, m] : kSizes) {
    const Tensor<T, 2> plane = random_tensor<T, 2>({n, m}, 7);
    check<T>(
        n, m, heed::bias(plane), [&](double s, Index, Index, Index i, Index j) { return s + double(plane(i, j)); }, 8);
    const Tensor<T, 3> heads = random_tensor<T, 3>({4, n, m}, 8);
    check<T>(
        n, m, heed::bias(heads), [&](double s, Index, Index h, Index i, Index j) { return s + double(heads(h, i, j)); },
        8);
    const Tensor<T, 3> turned = random_tensor<T, 3>({m, 4, n}, 9);
    check<T>(
        n, m, heed::bias(heed::const_view(turned).permute({1, 2, 0})),
        [&](double s, Index, Index h, Index i, Index j) { return s + double(turned(j, h, i)); }, 8);
    const Tensor<heed::half, 4> half = random_tensor<heed::half, 4>({2, 1, n, m}, 10);
    check<T>(
        n, m, heed::bias(half),
        [&](double s, Index b, Index, Index i, Index j) { return s + double(half(b, 0, i, j)); }, 8);
    const Tensor<heed::bfloat16, 2> row = random_tensor<heed::bfloat16, 2>({1, m}, 11);
    check<T>(
        n, m, heed::bias(row), [&](double s, Index, Index, Index, Index j) { return s + double(row(0, j)); }, 8);
  }
}

TEMPLATE_TEST_CASE("A bias of -infinity hides, whole rows too", "", float, double) {
  using T = TestType;
  const double none = -std::numeric_limits<double>::infinity();
  for (const auto [n, m] : kSizes) {
    Tensor<T, 4> bias = random_tensor<T, 4>({2, 4, n, m}, 12);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 4; ++h)
        for (Index i = 0; i < n; ++i)
          for (Index j = 0; j < m; ++j)
            if ((i + h) % 3 == 0 || (i * 5 + j * 3 + b) % 4 == 1) bias(b, h, i, j) = T(none);
    check<T>(
        n, m, heed::bias(bias),
        [&](double s, Index b, Index h, Index i, Index j) { return s + double(bias(b, h, i, j)); }, 8);
    const Inputs<T> x(2, 4, 2, n, m, 5, 6, 13);
    const auto got = attend_any(ErasedScore(heed::bias(bias)), heed::everything(), x.q, x.k, x.v);
    for (Index h = 0; h < 4; ++h)
      for (Index i = 0; i < n; ++i) {
        if ((i + h) % 3 != 0) continue;
        CHECK(got.lse(1, h, i) == T(none));
        for (Index d = 0; d < 6; ++d) CHECK(got.out(1, h, i, d) == 0);
      }
    // The same as a rule.
    Tensor<T, 4> zero = bias;
    for (Index i = 0; i < zero.size(); ++i)
      if (zero.data()[i] != T(none)) zero.data()[i] = T(0);
    NaiveAttention naive;
    naive.visible = [&](Index b, Index h, Index i, Index j) { return zero(b, h, i, j) == 0; };
    const auto masked = attend_any(ErasedScore(heed::bias(zero)), heed::everything(), x.q, x.k, x.v);
    CHECK(error_of(masked.out, naive(x.q, x.k, x.v).out) < 2 * kTolerance<T>);
  }
}

TEST_CASE("Biases that the batches share, laid out once, give the bits of each batch alone") {
  constexpr float none = -std::numeric_limits<float>::infinity();
  for (const auto& [n, m] : std::vector<std::pair<Index, Index>>{{9, 3}, {49, 49}, {70, 130}, {200, 17}}) {
    CAPTURE(n, m);
    Inputs<float> x(3, 2, 1, n, m, 5, 6, unsigned(n));
    auto per_head = random_tensor<float, 4>({1, 2, n, m}, 1);
    const auto per_query = random_tensor<float, 4>({1, 1, n, 1}, 2);
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < m; ++j)
        if ((i + j) % 3 == 0) per_head(0, 1, i, j) = none;
      if (i % 4 == 0) x.v(2, 0, i % m, 0) = std::numeric_limits<float>::quiet_NaN();
    }
    for (const bool both : {false, true}) {
      const auto attend =
          heed::softmax_attention(heed::when(both, heed::bias(per_query)) | heed::bias(per_head), heed::causal());
      const auto [out, lse] = attend.with_lse(x.q, x.k, x.v);
      Eigen::ThreadPool pool(2);
      Tensor<float, 4> threaded(out.dimensions());
      attend(Eigen::ThreadPoolDevice(&pool, 2), x.q, x.k, x.v, heed::into(threaded));
      CHECK(same_bits(threaded, out));
      for (Index b = 0; b < 3; ++b) {
        const auto part = [b](const auto& t) { return heed::const_view(t).slice(0, b, 1); };
        const auto [alone, alone_lse] = attend.with_lse(part(x.q), part(x.k), part(x.v));
        const auto* const row = out.data() + b * alone.size();
        CHECK(std::memcmp(alone.data(), row, std::size_t(alone.size()) * sizeof(float)) == 0);
        CHECK(std::memcmp(alone_lse.data(), lse.data() + b * alone_lse.size(),
                          std::size_t(alone_lse.size()) * sizeof(float)) == 0);
      }
    }
  }
}

TEMPLATE_TEST_CASE("A sink logit takes weight and brings no value", "", float, double) {
  using T = TestType;
  const double none = -std::numeric_limits<double>::infinity();
  Tensor<T, 1> logits(4);
  logits.setValues({T(0.5), T(-3), T(2), T(none)});
  for (const auto [n, m] : kSizes) {
    check<T>(
        n, m, heed::sink_logit(logits), [](double s, Index, Index, Index, Index) { return s; }, 2,
        [&](Index, Index h) { return double(logits(h)); });
    check<T>(
        n, m, heed::softcap(2) | heed::sink_logit(logits) | heed::scale_by(3),
        [](double s, Index, Index, Index, Index) { return 6 * std::tanh(s / 2); }, 4,
        [&](Index, Index h) { return double(logits(h)); });
    const Inputs<T> x(1, 4, 2, n, m, 5, 6, 14);
    const auto hidden = attend_any(ErasedScore(heed::sink_logit(logits)), !heed::everything(), x.q, x.k, x.v);
    const auto plain = attend_any(ErasedScore(heed::scale_by(1)), heed::everything(), x.q, x.k, x.v);
    const auto sunk = attend_any(ErasedScore(heed::sink_logit(logits)), heed::everything(), x.q, x.k, x.v);
    for (Index h = 0; h < 4; ++h)
      for (Index i = 0; i < n; ++i) {
        CHECK((hidden.lse(0, h, i) == logits(h) || std::fabs(hidden.lse(0, h, i) - logits(h)) <=
                                                       std::fabs(logits(h)) * 4 * std::numeric_limits<T>::epsilon()));
        for (Index d = 0; d < 6; ++d) CHECK(hidden.out(0, h, i, d) == 0);
        if (h == 3) CHECK(same_row(plain, sunk, 0, h, i));
      }
    for (const double huge : {1e3, 1e5, 1e30, -1e3, -1e30, double(std::numeric_limits<T>::max()) / 2,
                              double(std::numeric_limits<T>::lowest()) / 2}) {
      CAPTURE(huge);
      Tensor<T, 1> extreme(4);
      extreme.setConstant(T(huge));
      const auto got = attend_any(ErasedScore(heed::sink_logit(extreme)), heed::everything(), x.q, x.k, x.v);
      for (Index h = 0; h < 4; ++h)
        for (Index i = 0; i < n; ++i) {
          const double lse = double(got.lse(0, h, i));
          if (huge > 0) {
            CHECK(got.out(0, h, i, 0) == 0);
            CHECK(std::fabs(lse - huge) <= huge * 1e-6);
          } else {
            CHECK(std::fabs(double(got.out(0, h, i, 0)) - double(plain.out(0, h, i, 0))) < 1e-5);
            CHECK(std::fabs(lse - double(plain.lse(0, h, i))) < 1e-5);
          }
        }
    }
  }
}

TEMPLATE_TEST_CASE("Chains run from left to right", "", float, double) {
  using T = TestType;
  Tensor<T, 1> slopes(4);
  slopes.setValues({T(0.5), T(0.25), T(1), T(0.125)});
  for (const auto [n, m] : kSizes) {
    const Tensor<T, 4> bias = random_tensor<T, 4>({1, 4, n, m}, 15), other = random_tensor<T, 4>({2, 1, n, m}, 16);
    const auto distance = [n = n, m = m](Index i, Index j) { return double(std::abs(i + m - n - j)); };
    const auto cap = [](double s) { return 3 * std::tanh(s / 3); };
    check<T>(
        n, m, heed::alibi(slopes) | heed::softcap(3),
        [&](double s, Index, Index h, Index i, Index j) { return cap(s - double(slopes(h)) * distance(i, j)); }, 20);
    check<T>(
        n, m, heed::softcap(3) | heed::alibi(slopes),
        [&](double s, Index, Index h, Index i, Index j) { return cap(s) - double(slopes(h)) * distance(i, j); }, 20);
    check<T>(
        n, m, heed::bias(bias) | heed::softcap(3) | heed::bias(other),
        [&](double s, Index b, Index h, Index i, Index j) {
          return cap(s + double(bias(0, h, i, j))) + double(other(b, 0, i, j));
        },
        8);
    check<T>(
        n, m, heed::bias(other) | (heed::scale_by(-1) | heed::bias(bias)),
        [&](double s, Index b, Index h, Index i, Index j) {
          return double(bias(0, h, i, j)) - s - double(other(b, 0, i, j));
        },
        8);
    const auto add_one = [](auto s, const auto&) { return s + decltype(s)(1); };
    check<T>(
        n, m, heed::scale_by(2) | add_one, [](double s, Index, Index, Index, Index) { return 2 * s + 1; }, 4);
    check<T>(
        n, m, add_one | heed::scale_by(2), [](double s, Index, Index, Index, Index) { return 2 * (s + 1); }, 4);
    check<T>(
        n, m, heed::score(add_one) | heed::score([](auto s, const auto&) { return s * s; }),
        [](double s, Index, Index, Index, Index) { return (s + 1) * (s + 1); }, 20);
  }
}

TEMPLATE_TEST_CASE("when switches a modifier off for good", "", float, double) {
  using T = TestType;
  const Tensor<T, 2> wrong = random_tensor<T, 2>({3, 3}, 17);
  Tensor<T, 1> logits(4);
  logits.setConstant(T(1));
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(1, 4, 2, n, m, 5, 6, 18);
    const Tensor<T, 2> bias = random_tensor<T, 2>({n, m}, 19);
    const auto attend = [&](const ErasedScore& s) { return attend_any(s, heed::causal(), x.q, x.k, x.v); };
    const auto plain = attend(heed::scale_by(1));
    check_same(attend(heed::when(false, heed::softcap(3))), plain);
    check_same(attend(heed::when(false, heed::bias(wrong))), plain);  // not even checked
    check_same(attend(heed::when(false, heed::sink_logit(logits))), plain);
    check_same(attend(heed::when(true, heed::softcap(3))), attend(heed::softcap(3)));
    check_same(attend(heed::when(true, heed::bias(bias)) | heed::when(false, heed::bias(wrong))),
               attend(heed::bias(bias)));
    check_same(attend(heed::when(true, heed::sink_logit(logits))), attend(heed::sink_logit(logits)));
  }
}

TEMPLATE_TEST_CASE("A user's score may use everything that it is told", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Tensor<T, 1> by_query = random_tensor<T, 1>({n}, 20), by_key = random_tensor<T, 1>({m}, 21);
    const Tensor<heed::half, 2> spread = random_tensor<heed::half, 2>({m, 2}, 22);
    const Tensor<T, 4> pairs = random_tensor<T, 4>({m, 2, n, 4}, 23);
    const auto of_pair = heed::const_view(pairs).permute({1, 3, 2, 0});
    const auto user = [&, q = heed::const_view(by_query), k = heed::const_view(by_key),
                       u = heed::const_view(spread).select(1, 1)](auto s, const auto& at) {
      using U = typename decltype(s)::value_type;
      using heed::simd::to_real;
      s = s + at.of_query(q) * at.of_key(k) + at.of_key(u) + at.of_pair(of_pair);
      s = s + to_real<U>(at.query()) * decltype(s)(U(0.01)) - to_real<U>(at.key()) * decltype(s)(U(0.02));
      s = s + to_real<U>(at.position()) * decltype(s)(U(0.003)) + at.distance() * decltype(s)(U(0.05));
      return s + decltype(s)(U(at.batch) * U(0.1) + U(at.head) * U(0.2) + U(at.kv_head) * U(0.4));
    };
    check<T>(
        n, m, user,
        [&, n = n, m = m](double s, Index b, Index h, Index i, Index j) {
          s += double(by_query(i)) * double(by_key(j)) + double(spread(j, 1)) + double(pairs(j, b, i, h));
          s += double(i) * 0.01 - double(j) * 0.02 + double(i + m - n) * 0.003 + double(i + m - n - j) * 0.05;
          return s + double(b) * 0.1 + double(h) * 0.2 + double(h / 2) * 0.4;
        },
        40);
  }
}

namespace {

struct Shifted : heed::ScoreModifierBase {
  static constexpr bool kMayHide = false;
  void check(const heed::AttentionShape& shape) const { heed::require(shape.heads == 4, "shifted", "needs 4 heads"); }
  template <class S, class A>
  S operator()(S s, const A& at) const {
    return s - at.distance() * S(typename A::Scalar(0.5));
  }
};

}  // namespace

TEST_CASE("A user's modifier may check, and say that it hides nothing") {
  const Inputs<float> x(1, 4, 2, 21, 40, 5, 6, 24), few(1, 2, 2, 21, 40, 5, 6, 24);
  const auto attend = heed::softmax_attention(Shifted{});
  NaiveAttention naive;
  naive.score = [](double s, Index, Index, Index i, Index j) { return s - 0.5 * double(i + 19 - j); };
  CHECK(error_of(attend(x.q, x.k, x.v), naive(x.q, x.k, x.v).out) < 20 * kTolerance<float>);
  CHECK_THROWS_WITH(attend(few.q, few.k, few.v), "shifted: needs 4 heads");
}
