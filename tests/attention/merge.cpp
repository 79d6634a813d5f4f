// SPDX-License-Identifier: Apache-2.0
#include "heed/attention/merge.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/reference.hpp"

using namespace heed;
using namespace heed::test;

namespace {

struct Want {
  Tensor<double, 4> out;
  Tensor<double, 3> lse;
};

template <class U, class T>
Want merge_by_definition(const View<const U, 5>& outputs, const View<const T, 4>& lses) {
  Want want{Tensor<double, 4>(outputs.size(1), outputs.size(2), outputs.size(3), outputs.size(4)),
            Tensor<double, 3>(outputs.size(1), outputs.size(2), outputs.size(3))};
  want.out.setZero();
  for (Index b = 0; b < outputs.size(1); ++b)
    for (Index h = 0; h < outputs.size(2); ++h)
      for (Index i = 0; i < outputs.size(3); ++i) {
        double top = -kInfinity, sum = 0;
        for (Index s = 0; s < outputs.size(0); ++s) top = std::max(top, double(lses(s, b, h, i)));
        want.lse(b, h, i) = -kInfinity;
        if (top == -kInfinity) continue;
        for (Index s = 0; s < outputs.size(0); ++s) sum += std::exp(double(lses(s, b, h, i)) - top);
        want.lse(b, h, i) = top + std::log(sum);
        for (Index s = 0; s < outputs.size(0); ++s) {
          const double weight = std::exp(double(lses(s, b, h, i)) - want.lse(b, h, i));
          if (lses(s, b, h, i) == -T(kInfinity)) continue;
          for (Index d = 0; d < outputs.size(4); ++d)
            want.out(b, h, i, d) += weight * static_cast<double>(outputs(s, b, h, i, d));
        }
      }
  return want;
}

template <class T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(*a.data())) == 0;
}

// States with -infinity for about one row in four, whose outputs are then NaN.
template <class U>
auto random_states(const std::array<Index, 5>& sizes, unsigned seed) {
  using T = Compute<U>;
  auto outputs = random_tensor<U, 5>(sizes, seed);
  auto lses = random_tensor<T, 4>({sizes[0], sizes[1], sizes[2], sizes[3]}, seed + 1, 5.0);
  std::mt19937 engine(seed);
  for (Index row = 0; row < lses.size(); ++row) {
    if (engine() % 4 != 0) continue;
    lses.data()[row] = -T(kInfinity);
    for (Index d = 0; d < sizes[4]; ++d) outputs.data()[row * sizes[4] + d] = static_cast<U>(float(kNaN));
  }
  return std::make_pair(outputs, lses);
}

}  // namespace

TEMPLATE_TEST_CASE("merging states agrees with the definition", "", float, double, bfloat16, half) {
  using T = Compute<TestType>;
  const double tolerance = std::same_as<TestType, double> ? 1e-14 : std::same_as<TestType, float> ? 1e-6 : 5e-3;
  for (const Index states : {0, 1, 2, 3, 17})
    for (const Index n : {1, 3, 65})
      for (const Index width : {1, 3, 16, 17, 63}) {
        const auto [outputs, lses] = random_states<TestType>({states, 2, 3, n, width}, unsigned(states * 7 + width));
        const Want want = merge_by_definition<TestType, T>(outputs, lses);
        Tensor<TestType, 4> out(2, 3, n, width);
        Tensor<T, 3> lse(2, 3, n);
        out.setConstant(static_cast<TestType>(float(kNaN)));
        lse.setConstant(T(kNaN));
        merge_attention_states(Eigen::DefaultDevice(), outputs, lses, into(out, lse));
        REQUIRE(error_of(out, want.out) < tolerance);
        REQUIRE(error_of(lse, want.lse) < (std::same_as<T, double> ? 1e-15 : 1e-6));

        // One after the other, in place, comes to the same.
        if (sizeof(TestType) == 2) continue;
        out.setZero();
        lse.setConstant(-T(kInfinity));
        for (Index s = 0; s < states; ++s)
          merge_attention_state(into(out, lse), const_view(outputs).select(0, s), const_view(lses).select(0, s));
        REQUIRE(error_of(out, want.out) < 4 * tolerance);
        REQUIRE(error_of(lse, want.lse) < (std::same_as<T, double> ? 4e-15 : 2e-6));
      }
}

TEST_CASE("attention split over keys and merged is attention") {
  const auto q = random_tensor<float, 4>({2, 4, 21, 8}, 1), k = random_tensor<float, 4>({2, 2, 100, 8}, 2),
             v = random_tensor<float, 4>({2, 2, 100, 5}, 3);
  const auto want = NaiveAttention()(q, k, v);
  Tensor<float, 5> outputs(3, 2, 4, 21, 5);
  Tensor<float, 4> lses(3, 2, 4, 21);
  const Index cuts[] = {0, 30, 30, 100};
  for (Index s = 0; s < 3; ++s) {
    const auto part = [&](const auto& x) { return const_view(x).slice(2, cuts[s], cuts[s + 1] - cuts[s]); };
    softmax_attention()(q, part(k), part(v), into(view(outputs).select(0, s), view(lses).select(0, s)));
  }
  const auto [out, lse] = merge_attention_states(outputs, lses);
  CHECK(error_of(out, want.out) < 1e-6);
  CHECK(error_of(lse, want.lse) < 1e-6);
}

TEST_CASE("merging: strides, extreme log-sum-exps, NaN, and no lse asked for") {
  const Index width = 19;
  const auto [outputs, lses] = random_states<float>({3, 2, 2, 7, width}, 4);
  // (B, N, D, H, S) in memory.
  Tensor<float, 5> turned(2, 7, width, 2, 3);
  const auto seen = view(turned).permute({4, 0, 3, 1, 2});
  for (Index s = 0; s < 3; ++s)
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < 7; ++i)
          for (Index d = 0; d < width; ++d) seen(s, b, h, i, d) = outputs(s, b, h, i, d);
  const auto [out, lse] = merge_attention_states(outputs, lses);
  Tensor<float, 4> turned_out(width, 2, 7, 2);
  merge_attention_states(Eigen::DefaultDevice(), seen, lses, into(view(turned_out).permute({1, 3, 2, 0})));
  CHECK(error_of(view(turned_out).permute({1, 3, 2, 0}), out) == 0);

  Tensor<float, 5> two(2, 1, 1, 3, 1);
  Tensor<float, 4> far(2, 1, 1, 3);
  two.setValues({{{{{1.f}, {2.f}, {3.f}}}}, {{{{5.f}, {6.f}, {7.f}}}}});
  far.setValues({{{{1e30f, -1e30f, 1.f}}}, {{{-1e30f, -1e30f, std::nanf("")}}}});
  const auto [o, l] = merge_attention_states(two, far);
  CHECK(o(0, 0, 0, 0) == 1.f);
  CHECK(l(0, 0, 0) == 1e30f);
  CHECK(o(0, 0, 1, 0) == 4.f);
  CHECK(std::isnan(o(0, 0, 2, 0)));
  CHECK(std::isnan(l(0, 0, 2)));
}

TEST_CASE("a state that saw nothing leaves the other's bits") {
  auto out = random_tensor<float, 4>({1, 2, 5, 9}, 1);
  auto lse = random_tensor<float, 3>({1, 2, 5}, 2);
  const auto before = out;
  const auto lse_before = lse;
  Tensor<float, 4> nothing(1, 2, 5, 9);
  Tensor<float, 3> none(1, 2, 5);
  nothing.setConstant(float(kNaN));
  none.setConstant(-float(kInfinity));
  merge_attention_state(into(out, lse), nothing, none);
  CHECK(same_bits(out, before));
  CHECK(same_bits(lse, lse_before));
  merge_attention_state(into(nothing, none), out, lse);
  CHECK(same_bits(nothing, before));
  CHECK(same_bits(none, lse_before));
}

TEST_CASE("merging gives the same bits on any number of threads, and does not allocate") {
  const auto [outputs, lses] = random_states<float>({5, 2, 3, 200, 33}, 9);
  const auto [out, lse] = merge_attention_states(outputs, lses);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    const auto [o, l] = merge_attention_states(device, outputs, lses);
    CHECK(same_bits(o, out));
    CHECK(same_bits(l, lse));
    Tensor<float, 4> step_out(2, 3, 200, 33);
    Tensor<float, 3> step_lse(2, 3, 200);
    step_out.setZero();
    step_lse.setConstant(-float(kInfinity));
    for (Index s = 0; s < 5; ++s)
      merge_attention_state(device, into(step_out, step_lse), const_view(outputs).select(0, s),
                            const_view(lses).select(0, s));
    CHECK(error_of(step_out, out) < 1e-6);
  }
  Tensor<float, 4> o(2, 3, 200, 33);
  Tensor<float, 3> l(2, 3, 200);
  merge_attention_states(Eigen::DefaultDevice(), outputs, lses, into(o, l));
  const std::size_t before = allocation_count();
  merge_attention_states(Eigen::DefaultDevice(), outputs, lses, into(o, l));
  CHECK(allocation_count() == before);
}

TEST_CASE("merging names what does not fit, and writes nothing") {
  const Tensor<float, 5> outputs(2, 1, 3, 4, 5);
  const Tensor<float, 4> lses(2, 1, 3, 4), short_lses(2, 1, 3, 3);
  Tensor<float, 4> out(1, 3, 4, 5), wrong_out(1, 3, 4, 6);
  Tensor<float, 3> lse(1, 3, 4), wrong_lse(1, 3, 5);
  const Eigen::DefaultDevice serial;
  out.setConstant(3.f);
  CHECK_THROWS_WITH(merge_attention_states(outputs, short_lses),
                    "merge_attention_states: lses must have shape (S, B, H, N) = (2, 1, 3, 4), got (2, 1, 3, 3)");
  CHECK_THROWS_WITH(merge_attention_states(serial, outputs, lses, into(wrong_out, lse)),
                    "merge_attention_states: out must have shape (B, H, N, D) = (1, 3, 4, 5), got (1, 3, 4, 6)");
  CHECK_THROWS_WITH(merge_attention_states(serial, outputs, lses, into(out, wrong_lse)),
                    "merge_attention_states: lse must have shape (B, H, N) = (1, 3, 4), got (1, 3, 5)");
  CHECK_THROWS_WITH(merge_attention_state(into(out, lse), wrong_out, lse),
                    "merge_attention_state: more_out must have the shape of out, (1, 3, 4, 5), got (1, 3, 4, 6)");
  CHECK_THROWS_WITH(merge_attention_state(into(out), out, lse),
                    "merge_attention_state: needs the state's lse: pass into(out, lse)");
  CHECK_THROWS_WITH(merge_attention_state(into(out, wrong_lse), out, lse),
                    "merge_attention_state: lse must have shape (1, 3, 4), got (1, 3, 5)");
  CHECK_THROWS_WITH(merge_attention_state(into(out, lse), out, wrong_lse),
                    "merge_attention_state: more_lse must have shape (1, 3, 4), got (1, 3, 5)");
  // A tensor without elements has no memory, and is no less wrong.
  Tensor<float, 3> empty_lse(1, 3, 0);
  CHECK_THROWS_WITH(merge_attention_states(serial, outputs, lses, into(out, empty_lse)),
                    "merge_attention_states: lse must have shape (B, H, N) = (1, 3, 4), got (1, 3, 0)");
  CHECK_THROWS_WITH(merge_attention_state(into(out, empty_lse), out, lse),
                    "merge_attention_state: lse must have shape (1, 3, 4), got (1, 3, 0)");
  Tensor<float, 4> no_width(1, 3, 4, 0);
  CHECK_THROWS_WITH(merge_attention_state(into(no_width), no_width, lse),
                    "merge_attention_state: needs the state's lse: pass into(out, lse)");
  for (Index x = 0; x < out.size(); ++x) REQUIRE(out.data()[x] == 3.f);
}
