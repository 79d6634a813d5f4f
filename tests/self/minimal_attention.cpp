// SPDX-License-Identifier: Apache-2.0
#include "heed/self/minimal_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/triangle.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::MinimalSimilarity;
using heed::MinimalValue;
using heed::Tensor;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

constexpr MinimalSimilarity kSimilarities[] = {
    MinimalSimilarity::kQueryKey, MinimalSimilarity::kCollapsed, MinimalSimilarity::kSymmetricShared,
    MinimalSimilarity::kSymmetricMirrored, MinimalSimilarity::kSymmetricCholesky};
constexpr MinimalValue kValues[] = {MinimalValue::kFull, MinimalValue::kCollapsed, MinimalValue::kOmitted};

bool by_head(MinimalSimilarity s) {
  return s == MinimalSimilarity::kQueryKey || s == MinimalSimilarity::kSymmetricShared;
}

// Only what the options call for.
template <class T>
heed::MinimalAttention<T> attention(MinimalSimilarity similarity, MinimalValue value, Index heads, bool causal,
                                    Index c) {
  heed::MinimalAttention<T> attend{{.similarity = similarity, .value = value, .num_heads = heads, .causal = causal}};
  const auto make = [&](unsigned seed) { return random_tensor<T, 2>({c, c}, seed, 1 / std::sqrt(double(c))); };
  if (by_head(similarity)) attend.q.weight = make(1);
  if (similarity == MinimalSimilarity::kQueryKey) attend.k.weight = make(2);
  if (!by_head(similarity)) attend.similarity.weight = make(3);
  if (value == MinimalValue::kFull) attend.v.weight = make(4), attend.out.weight = make(5);
  if (value == MinimalValue::kCollapsed) attend.vo.weight = make(6);
  return attend;
}

// The formula: head by head, with the matrix W of each.
template <class T>
Tensor<double, 3> direct(const heed::MinimalAttention<T>& attend, const Tensor<T, 3>& x) {
  const auto& o = attend.options;
  const Index batch = x.dimension(0), n = x.dimension(1), c = x.dimension(2), width = c / o.num_heads;
  Tensor<double, 3> out(batch, n, c);
  out.setZero();
  for (Index h = 0; h < o.num_heads; ++h) {
    const auto w = [&](Index i, Index j) {
      double sum = 0;
      const auto product = [&](const auto& a, const auto& b, Index first, Index last) {
        for (Index d = first; d < last; ++d) sum += double(a(i, d)) * double(b(j, d));
      };
      switch (o.similarity) {
        case MinimalSimilarity::kQueryKey:
          product(attend.q.weight, attend.k.weight, h * width, (h + 1) * width);
          break;
        case MinimalSimilarity::kSymmetricShared:
          product(attend.q.weight, attend.q.weight, h * width, (h + 1) * width);
          break;
        case MinimalSimilarity::kSymmetricCholesky:
          product(attend.similarity.weight, attend.similarity.weight, 0, std::min(i, j) + 1);
          break;
        case MinimalSimilarity::kSymmetricMirrored:
          return double(attend.similarity.weight(std::max(i, j), std::min(i, j)));
        case MinimalSimilarity::kCollapsed:
          return double(attend.similarity.weight(i, j));
      }
      return sum;
    };
    // What head h adds of token j.
    const auto value = [&](Index b, Index j, Index to) {
      if (o.value == MinimalValue::kOmitted) return double(x(b, j, to));
      double sum = 0;
      for (Index i = 0; i < c; ++i) {
        if (o.value == MinimalValue::kCollapsed) {
          sum += double(x(b, j, i)) * double(attend.vo.weight(i, to));
        } else {
          for (Index d = h * width; d < (h + 1) * width; ++d)
            sum += double(x(b, j, i)) * double(attend.v.weight(i, d)) * double(attend.out.weight(d, to));
        }
      }
      return sum;
    };
    for (Index b = 0; b < batch; ++b)
      for (Index i = 0; i < n; ++i) {
        std::vector<double> p;
        double total = 0;
        for (Index j = 0; j < (o.causal ? i + 1 : n); ++j) {
          double s = 0;
          for (Index r = 0; r < c; ++r)
            for (Index t = 0; t < c; ++t) s += double(x(b, i, r)) * w(r, t) * double(x(b, j, t));
          p.push_back(std::exp(s / std::sqrt(double(width))));
          total += p.back();
        }
        for (std::size_t j = 0; j < p.size(); ++j)
          for (Index to = 0; to < c; ++to) out(b, i, to) += p[j] / total * value(b, Index(j), to);
      }
  }
  return out;
}

}  // namespace

TEST_CASE("minimal_attention: every form is its formula") {
  for (const auto similarity : kSimilarities)
    for (const auto value : kValues)
      for (const bool causal : {false, true}) {
        CAPTURE(int(similarity), int(value), causal);
        const auto x = random_tensor<double, 3>({2, 5, 3}, 9);
        const auto attend = attention<double>(similarity, value, 1, causal, 3);
        CHECK(error_of(attend(x), direct(attend, x)) < 1e-12);
        if (!by_head(similarity) || value != MinimalValue::kFull) continue;
        const auto wide = random_tensor<double, 3>({1, 4, 6}, 8);
        const auto heads = attention<double>(similarity, value, 3, causal, 6);
        CHECK(error_of(heads(wide), direct(heads, wide)) < 1e-12);
      }
}

TEST_CASE("minimal_attention: what is above the diagonal of a triangular form is ignored") {
  for (const auto similarity : {MinimalSimilarity::kSymmetricMirrored, MinimalSimilarity::kSymmetricCholesky}) {
    auto attend = attention<float>(similarity, MinimalValue::kOmitted, 1, false, 17);
    const auto x = random_tensor<float, 3>({1, 9, 17}, 9);
    const auto want = attend(x);
    for (Index i = 0; i < 17; ++i)
      for (Index j = i + 1; j < 17; ++j) attend.similarity.weight(i, j) = float(heed::test::kNaN);
    CHECK(error_of(attend(x), want) == 0);
  }
}

TEST_CASE("minimal_attention refuses heads where there are none, and weights that do not fit") {
  const auto x = random_tensor<float, 3>({1, 3, 4}, 1);
  auto attend = attention<float>(MinimalSimilarity::kQueryKey, MinimalValue::kOmitted, 2, false, 4);
  CHECK_THROWS_WITH(attend(x), Catch::Contains("num_heads must be 1"));
  attend.options.num_heads = 1;
  CHECK_NOTHROW(attend(x));
  attend.k.weight.resize(4, 3);
  CHECK_THROWS_WITH(attend(x), "minimal_attention: k.weight must have shape (4, 4), got (4, 3)");
  attend.options = {.num_heads = 3};
  CHECK_THROWS_AS(attend(x), heed::Error);
}

TEST_CASE("Gradients of minimal_attention") {
  auto x = random_tensor<double, 3>({2, 3, 4}, 9);
  const auto check = [&](MinimalSimilarity similarity, MinimalValue value, Index heads) {
    auto attend = attention<double>(similarity, value, heads, true, 4);
    CAPTURE(int(similarity), int(value));
    check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);
  };
  check(MinimalSimilarity::kQueryKey, MinimalValue::kFull, 2);
  check(MinimalSimilarity::kSymmetricShared, MinimalValue::kFull, 2);
  check(MinimalSimilarity::kCollapsed, MinimalValue::kOmitted, 1);
  check(MinimalSimilarity::kSymmetricMirrored, MinimalValue::kCollapsed, 1);
  check(MinimalSimilarity::kSymmetricCholesky, MinimalValue::kOmitted, 1);
}
