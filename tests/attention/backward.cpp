// SPDX-License-Identifier: Apache-2.0
// Gradients of the fused attention: against differences of the forward in double, and by their own laws.
#include "heed/attention/backward.hpp"

#include <map>
#include <string>

#include "catch.hpp"
#include "heed/attention/mask/blocks.hpp"
#include "heed/attention/mask/documents.hpp"
#include "heed/attention/score/relative.hpp"
#include "support/any_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using namespace heed::test;

namespace {

/// Reads a tensor of every kind: s gain[h] + row[i] column[j] + tanh(pair(h, i, j)).
template <class T>
struct UserScore : heed::ScoreModifierBase {
  View<const T, 1> gain, row, column;
  View<const T, 4> pair;
  static constexpr int kParameters = 4;

  template <class S, class A>
  S operator()(S s, const A& at) const {
    return s * at.of_head(gain) + at.of_query(row) * at.of_key(column) + tanh(S(at.of_pair(pair)));
  }
  template <class F>
  void for_each_parameter(F&& f) const {
    f(heed::per_head(gain));
    f(heed::per_query(row));
    f(heed::per_key(column));
    f(heed::per_pair(pair));
  }
};

struct Parts {
  bool alibi = false, softcap = false, bias = false, relative = false, sink = false, user = false;
};
struct Size {
  Index b, h, hk, n, m, d, dv;
};

/// Everything that a score can read, and the composition of what `parts` asks for.
template <class T>
struct Problem {
  Tensor<T, 4> q, k, v, d_out, bias, pair;
  Tensor<T, 3> d_lse;
  Tensor<T, 1> slopes, sink, gain, row, column;
  Tensor<T, 2> table;
  Parts parts;
  ErasedRule rule;

  Problem(const Size& s, const std::array<Index, 4>& bias_sizes, const Parts& parts, ErasedRule rule)
      : parts(parts), rule(std::move(rule)) {
    unsigned seed = unsigned(s.n * 31 + s.m);
    const auto make = [&]<std::size_t R>(Tensor<T, int(R)>& x, const std::array<Index, R>& sizes) {
      x = random_tensor<T, int(R)>(sizes, ++seed);
    };
    make(q, std::array<Index, 4>{s.b, s.h, s.n, s.d});
    make(k, std::array<Index, 4>{s.b, s.hk, s.m, s.d});
    make(v, std::array<Index, 4>{s.b, s.hk, s.m, s.dv});
    make(d_out, std::array<Index, 4>{s.b, s.h, s.n, s.dv});
    make(d_lse, std::array<Index, 3>{s.b, s.h, s.n});
    make(bias, bias_sizes);
    make(pair, std::array<Index, 4>{1, s.h, s.n, s.m});
    make(slopes, std::array<Index, 1>{s.h});
    make(sink, std::array<Index, 1>{s.h});
    make(gain, std::array<Index, 1>{s.h});
    make(row, std::array<Index, 1>{s.n});
    make(column, std::array<Index, 1>{s.m});
    make(table, std::array<Index, 2>{32, s.h});
  }

  template <class F>
  void for_each_input(F&& f) {
    f("q", q), f("k", k), f("v", v);
    if (parts.bias) f("bias", bias);
    if (parts.alibi) f("slopes", slopes);
    if (parts.sink) f("sink", sink);
    if (parts.relative) f("table", table);
    if (parts.user) f("gain", gain), f("row", row), f("column", column), f("pair", pair);
  }

  // The relative table is copied when the modifier is made.
  auto attend() const {
    return heed::softmax_attention(
        heed::when(parts.alibi, heed::alibi(slopes)) | heed::when(parts.softcap, heed::softcap(1.5)) |
            heed::when(parts.bias, heed::bias(bias)) | heed::when(parts.relative, heed::relative_position(table)) |
            heed::when(parts.user, UserScore<T>{{}, gain, row, column, pair}) |
            heed::when(parts.sink, heed::sink_logit(sink)),
        rule);
  }
  double loss() const {
    const auto [out, lse] = attend().with_lse(q, k, v);
    double sum = 0;
    for (Index i = 0; i < out.size(); ++i) sum += double(out.data()[i]) * double(d_out.data()[i]);
    for (Index i = 0; i < lse.size(); ++i)
      if (std::isfinite(lse.data()[i])) sum += double(lse.data()[i]) * double(d_lse.data()[i]);
    return sum;
  }
};

template <class T>
struct Gradients {
  std::map<std::string, std::vector<T>> of;
};

template <class T, class P, class D = Eigen::DefaultDevice>
Gradients<T> gradients(P& p, const D& device = {}) {
  const auto attend = p.attend();
  const auto [out, lse] = attend.with_lse(p.q, p.k, p.v);
  Gradients<T> result;
  std::vector<heed::ParameterGradient<T>> parameters;
  p.for_each_input([&](const char* name, const auto& x) {
    auto& d = result.of[name];
    d.assign(std::size_t(x.size()), T(0));
    parameters.push_back({x.data(), d.data()});
  });
  const auto target = [&](const char* name, const Tensor<T, 4>& x) {
    return View<T, 4>(result.of[name].data(), heed::const_view(x).sizes);
  };
  heed::softmax_attention_backward(
      device, attend, p.q, p.k, p.v, out, lse, p.d_out, View<const T, 3>(p.d_lse),
      heed::AttentionGradients<T>{target("q", p.q), target("k", p.k), target("v", p.v), parameters});
  return result;
}

// Along a random direction in each input, central differences and the gradient agree.
void check_differences(Problem<double>& p) {
  Gradients<double> got = gradients<double>(p);
  std::mt19937 engine(5);
  std::normal_distribution<double> normal;
  p.for_each_input([&](const char* name, auto& x) {
    CAPTURE(std::string(name));
    std::vector<double> direction(std::size_t(x.size())), kept(x.data(), x.data() + x.size());
    double want = 0, scale = 0;
    for (std::size_t i = 0; i < direction.size(); ++i) {
      direction[i] = normal(engine);
      want += direction[i] * got.of[name][i];
      scale += std::abs(direction[i] * got.of[name][i]);
    }
    const auto moved = [&](double step) {
      for (std::size_t i = 0; i < kept.size(); ++i) x.data()[i] = kept[i] + step * direction[i];
      return p.loss();
    };
    const double step = 1e-5;
    const double slope = (moved(step) - moved(-step)) / (2 * step);
    std::copy(kept.begin(), kept.end(), x.data());
    CHECK(std::abs(slope - want) < 1e-6 * (1 + scale));
  });
}

template <class T>
bool same(const Gradients<T>& a, const Gradients<T>& b) {
  return a.of == b.of;
}

double error_of(const Gradients<float>& got, const Gradients<double>& want) {
  double worst = 0;
  for (const auto& [name, w] : want.of) {
    double largest = 0, off = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      largest = std::max(largest, std::abs(w[i]));
      off = std::max(off, std::abs(double(got.of.at(name)[i]) - w[i]));
    }
    worst = std::max(worst, off / (1 + largest));
  }
  return worst;
}

const Parts kParts[] = {{},
                        {.alibi = true},
                        {.softcap = true},
                        {.bias = true},
                        {.relative = true},
                        {.sink = true},
                        {.user = true},
                        {.alibi = true, .softcap = true, .bias = true, .relative = true, .sink = true, .user = true}};
const Size kSizes[] = {{1, 1, 1, 1, 1, 1, 1},
                       {2, 2, 1, 3, 17, 5, 6},
                       {1, 4, 2, 17, 63, 9, 3},
                       {2, 2, 2, 70, 33, 5, 17},
                       {1, 2, 1, 130, 200, 3, 2}};

}  // namespace

TEST_CASE("Gradients of every score are the slopes of the forward") {
  for (const Size& s : kSizes)
    for (const Parts& parts : kParts) {
      CAPTURE(s.n, s.m, parts.alibi, parts.softcap, parts.bias, parts.relative, parts.sink, parts.user);
      Problem<double> p(s, {s.b, s.h, s.n, s.m}, parts, heed::causal());
      check_differences(p);
    }
}

TEST_CASE("The gradient of a bias is summed over the axes that it is broadcast along") {
  const Size s{2, 4, 2, 19, 33, 4, 3};
  for (int full = 0; full < 16; ++full) {
    const auto axis = [&](int a, Index size) { return (full >> a) & 1 ? size : Index(1); };
    CAPTURE(full);
    Problem<double> p(s, {axis(0, s.b), axis(1, s.h), axis(2, s.n), axis(3, s.m)}, {.bias = true}, heed::everything());
    check_differences(p);
  }
}

TEST_CASE("Gradients under every rule are the slopes of the forward") {
  const Size s{2, 2, 1, 70, 70, 5, 6};
  Tensor<std::int32_t, 1> lengths(2);
  lengths.setValues({13, 70});
  const auto blocks = random_mask<2>({5, 7}, 3, 0.4);
  const ErasedRule rules[] = {heed::everything(),
                              heed::causal(),
                              heed::causal(-5),
                              heed::causal(40),
                              heed::causal() && heed::window_left(7),
                              (heed::causal() && heed::window_left(7)) || heed::sink_tokens(2),
                              heed::causal() || heed::prefix(lengths),
                              heed::window_left(3) && heed::window_right(20),
                              heed::key_lengths(lengths),
                              heed::documents({11, 1, 58}),
                              heed::block_mask(blocks, 16, 10),
                              heed::visible([](const auto& at) { return at.distance() * at.distance() > 30.f; }),
                              !heed::everything()};
  for (std::size_t r = 0; r < std::size(rules); ++r)
    for (const Parts& parts : {kParts[0], kParts[7]}) {
      CAPTURE(r, parts.user);
      Problem<double> p(s, {1, s.h, s.n, s.m}, parts, rules[r]);
      check_differences(p);
      Problem<double> tested(s, {1, s.h, s.n, s.m}, parts, rules[r].without_runs());
      const auto a = gradients<double>(p), b = gradients<double>(tested);
      for (const auto& [name, values] : a.of)
        for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(std::abs(values[i] - b.of.at(name)[i]) < 1e-10);
    }
}

TEST_CASE("float agrees with double") {
  for (const Size& s : kSizes)
    for (const Parts& parts : {kParts[0], kParts[7]}) {
      CAPTURE(s.n, s.m, parts.user);
      const std::array<Index, 4> sizes{1, s.h, s.n, s.m};
      Problem<double> p(s, sizes, parts, heed::causal());
      Problem<float> f(s, sizes, parts, heed::causal());
      CHECK(error_of(gradients<float>(f), gradients<double>(p)) < 1e-4);
    }
}

TEST_CASE("Ranges of keys change no gradient, and threads no bit of it") {
  // 5000 keys are cut in four.
  const Size s{1, 2, 1, 37, 5000, 5, 3};
  Problem<float> f(s, {1, 1, s.n, s.m}, kParts[7], heed::causal());
  Problem<double> p(s, {1, 1, s.n, s.m}, kParts[7], heed::causal());
  check_differences(p);
  const auto want = gradients<float>(f);
  CHECK(error_of(want, gradients<double>(p)) < 1e-4);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    CHECK(same(gradients<float>(f, device), want));
  }
}

TEST_CASE("What is hidden has no gradient and gives none, NaN included") {
  const Size s{1, 2, 1, 70, 90, 5, 6};
  for (const Parts& parts : {kParts[0], kParts[7]}) {
    // The last 20 keys are hidden from all, query 3 from all keys, and key 9 from the queries before it.
    const ErasedRule rule = heed::visible([](const auto& at) {
      using I = typename std::remove_cvref_t<decltype(at)>::Integers;
      using L = typename I::value_type;
      return at.key() < I(L(70)) && at.query() != I(L(3)) && at.key() <= at.query();
    });
    Problem<float> p(s, {1, s.h, s.n, s.m}, parts, rule);
    const auto clean = gradients<float>(p);
    Problem<float> dirty = p;
    for (Index h = 0; h < s.h; ++h)
      for (Index d = 0; d < s.d; ++d) dirty.q(0, h, 3, d) = std::numeric_limits<float>::quiet_NaN();
    for (Index j = 70; j < 90; ++j) {
      for (Index d = 0; d < s.d; ++d) dirty.k(0, 0, j, d) = std::numeric_limits<float>::infinity();
      for (Index d = 0; d < s.dv; ++d) dirty.v(0, 0, j, d) = std::numeric_limits<float>::quiet_NaN();
    }
    const auto got = gradients<float>(dirty);
    for (const auto& [name, values] : clean.of)
      for (std::size_t i = 0; i < values.size(); ++i) {
        CAPTURE(name, i, parts.user);
        REQUIRE(got.of.at(name)[i] == Approx(values[i]).margin(1e-5));
      }
    for (Index h = 0; h < s.h; ++h)
      for (Index d = 0; d < s.d; ++d) REQUIRE(got.of.at("q")[std::size_t((h * s.n + 3) * s.d + d)] == 0);
    for (Index j = 70; j < 90; ++j)
      for (Index d = 0; d < s.d; ++d) REQUIRE(got.of.at("k")[std::size_t(j * s.d + d)] == 0);
  }
}

TEST_CASE("Gradients are added to what is there, and only where they are wanted") {
  const Size s{1, 2, 2, 5, 20, 3, 4};
  Problem<double> p(s, {1, 1, 1, 1}, {}, heed::causal());
  const auto want = gradients<double>(p);
  const auto attend = p.attend();
  const auto [out, lse] = attend.with_lse(p.q, p.k, p.v);
  Tensor<double, 4> d_k(p.k.dimensions());
  d_k.setConstant(2);
  heed::softmax_attention_backward(Eigen::DefaultDevice(), attend, p.q, p.k, p.v, out, lse, p.d_out,
                                   View<const double, 3>(p.d_lse), heed::AttentionGradients<double>{{}, d_k, {}});
  // A compiler may add the last product and the 2 with one rounding.
  for (Index i = 0; i < d_k.size(); ++i)
    CHECK(d_k.data()[i] == Approx(2 + want.of.at("k")[std::size_t(i)]).epsilon(1e-14));
  Tensor<double, 4> wrong(1, 2, 20, 4);
  CHECK_THROWS_AS(heed::softmax_attention_backward(Eigen::DefaultDevice(), attend, p.q, p.k, p.v, out, lse, p.d_out, {},
                                                   heed::AttentionGradients<double>{{}, wrong, {}}),
                  heed::Error);
}
