// SPDX-License-Identifier: Apache-2.0
#include "heed/self/target_attention.hpp"

#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/masked_fill.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/softmax.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::TargetAttention;
using heed::TargetScore;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

template <class T>
TargetAttention<T> attention(TargetScore score, Index time_dim, Index width) {
  TargetAttention<T> attend{{.score = score, .time_dim = time_dim}};
  if (score == TargetScore::kMlp) {
    attend.mlp.fc1 = heed::test::random_linear<T>(5, 4 * width, true, 1);
    attend.mlp.fc2 = heed::test::random_linear<T>(1, 5, true, 2);
    attend.mlp.slope.resize(1);
    attend.mlp.slope(0) = T(0.1);
  }
  return attend;
}

// By the definition, with hidden scores of -2^32 + 1.
template <class T>
void check(const TargetAttention<T>& attend, Index m, bool masked) {
  const Index width = 6, value_width = 5;
  const auto query = random_tensor<T, 2>({3, width}, 1);
  const auto key = random_tensor<T, 3>({3, m, width}, 2), value = random_tensor<T, 3>({3, m, value_width}, 3);
  auto mask = heed::test::random_mask<2>({3, m}, 4, 0.6);
  for (Index j = 0; j < m; ++j) mask(1, j) = 0;
  Tensor<double, 2> out(3, value_width), weights(3, m);
  out.setZero();
  const Index time = attend.options.time_dim;
  for (Index b = 0; b < 3; ++b) {
    std::vector<double> s;
    double top = -heed::test::kInfinity, total = 0;
    for (Index j = 0; j < m; ++j) {
      double score = 0;
      if (attend.options.score == TargetScore::kDot) {
        for (Index d = 0; d < width; ++d)
          score +=
              double(query(b, d)) * double(key(b, j, d)) / std::sqrt(double(d < width - time ? width - time : time));
      } else {
        Tensor<double, 3> f(1, 1, 4 * width);
        for (Index d = 0; d < width; ++d) {
          const double q = double(query(b, d)), k = double(key(b, j, d));
          f(0, 0, d) = q, f(0, 0, width + d) = k, f(0, 0, 2 * width + d) = q - k, f(0, 0, 3 * width + d) = q * k;
        }
        auto hidden = heed::test::apply(attend.mlp.fc1, f);
        for (Index h = 0; h < 5; ++h)
          if (hidden(0, 0, h) < 0) hidden(0, 0, h) *= double(attend.mlp.slope(0));
        score = heed::test::apply(attend.mlp.fc2, hidden)(0, 0, 0) / double(width);
      }
      if (masked && mask(b, j) == 0) score = -4294967295.0;
      s.push_back(score);
      top = std::max(top, score);
    }
    for (auto& x : s) total += x = std::exp(x - top);
    for (Index j = 0; j < m; ++j) {
      weights(b, j) = s[std::size_t(j)] / total;
      for (Index d = 0; d < value_width; ++d) out(b, d) += weights(b, j) * double(value(b, j, d));
    }
  }
  typename TargetAttention<T>::Inputs inputs;
  if (masked) inputs.mask = mask;
  const auto got = attend(query, key, value, inputs);
  const double tolerance = std::same_as<T, float> ? 1e-5 : 1e-13;
  CHECK(error_of(got.out, out) < tolerance);
  CHECK(error_of(got.weights, weights) < tolerance);
}

}  // namespace

TEMPLATE_TEST_CASE("target_attention is its definition", "", float, double) {
  for (const Index m : {0, 1, 3, 17, 63})
    for (const bool masked : {false, true}) {
      CAPTURE(m, masked);
      check(attention<TestType>(TargetScore::kDot, 0, 6), m, masked);
      check(attention<TestType>(TargetScore::kDot, 2, 6), m, masked);
      check(attention<TestType>(TargetScore::kMlp, 0, 6), m, masked);
    }
}

TEST_CASE("target_attention: a hidden key or value never changes a result") {
  for (const auto score : {TargetScore::kDot, TargetScore::kMlp}) {
    const auto attend = attention<float>(score, 0, 4);
    const auto query = random_tensor<float, 2>({2, 4}, 1);
    auto key = random_tensor<float, 3>({2, 9, 4}, 2), value = random_tensor<float, 3>({2, 9, 3}, 3);
    Tensor<std::uint8_t, 2> mask(2, 9);
    mask.setConstant(1);
    mask(0, 3) = mask(1, 8) = 0;
    const auto want = attend(query, key, value, {.mask = heed::const_view(mask)});
    for (Index d = 0; d < 3; ++d)
      key(0, 3, d) = key(1, 8, d) = value(0, 3, d) = value(1, 8, d) = float(d == 1 ? heed::test::kInfinity : kNaN);
    const auto got = attend(query, key, value, {.mask = heed::const_view(mask)});
    CHECK(error_of(got.out, want.out) == 0);
    CHECK(error_of(got.weights, want.weights) == 0);
  }
}

TEST_CASE("target_attention refuses what does not fit, by name") {
  const auto query = random_tensor<float, 2>({2, 4}, 1);
  const auto key = random_tensor<float, 3>({2, 3, 4}, 2), value = random_tensor<float, 3>({2, 3, 5}, 3);
  CHECK_THROWS_WITH((attention<float>(TargetScore::kDot, 4, 4)(query, key, value)),
                    "target_attention: time_dim must be in 0 .. D - 1 with D = 4, got 4");
  CHECK_THROWS_AS((attention<float>(TargetScore::kMlp, 0, 3)(query, key, value)), heed::Error);
  CHECK_THROWS_AS((attention<float>(TargetScore::kDot, 0, 4)(query, key, random_tensor<float, 3>({2, 4, 5}, 3))),
                  heed::Error);
}

TEST_CASE("Gradients of target_attention, a row that is hidden as a whole among them") {
  auto query = random_tensor<double, 2>({3, 3}, 1);
  auto key = random_tensor<double, 3>({3, 4, 3}, 2), value = random_tensor<double, 3>({3, 4, 2}, 3);
  auto mask = heed::test::random_mask<2>({3, 4}, 4, 0.6);
  for (Index j = 0; j < 4; ++j) mask(1, j) = 0;
  const auto check_attend = [&](auto attend) {
    check_gradients(
        [&](auto&, const auto& q, const auto& k, const auto& v) {
          const auto r = attend(q, k, v, {.mask = heed::const_view(mask)});
          return std::make_tuple(r.out, r.weights);
        },
        query, key, value, attend);
  };
  check_attend(attention<double>(TargetScore::kDot, 1, 3));
  check_attend(attention<double>(TargetScore::kMlp, 0, 3));
}
