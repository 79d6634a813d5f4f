// SPDX-License-Identifier: Apache-2.0
#include "heed/scan/linear_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::LinearForm;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

constexpr LinearForm kForms[] = {LinearForm::kRecurrent, LinearForm::kChunked, LinearForm::kParallel,
                                 LinearForm::kAuto};

double weight_of(const heed::IdentityFeatures&, double dot) { return dot; }
double weight_of(const heed::TaylorFeatures& map, double dot) {
  const double s = map.scale * dot;
  return 1 + s + s * s / 2;
}

template <class Map, class T>
Tensor<double, 4> naive_linear(const Map& map, const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                               bool causal) {
  Tensor<double, 4> out(q.dimension(0), q.dimension(1), q.dimension(2), v.dimension(3));
  out.setZero();
  for (Index b = 0; b < q.dimension(0); ++b)
    for (Index h = 0; h < q.dimension(1); ++h)
      for (Index i = 0; i < q.dimension(2); ++i)
        for (Index j = 0; j < (causal ? i + 1 : k.dimension(2)); ++j) {
          double dot = 0;
          for (Index d = 0; d < q.dimension(3); ++d) dot += double(q(b, h, i, d)) * double(k(b, h, j, d));
          for (Index c = 0; c < v.dimension(3); ++c) out(b, h, i, c) += weight_of(map, dot) * double(v(b, h, j, c));
        }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("linear_attention: all forms are the sum over pairs", "", heed::IdentityFeatures,
                   heed::TaylorFeatures) {
  TestType map;
  if constexpr (std::same_as<TestType, heed::TaylorFeatures>) map.scale = 0.4;
  for (const Index tokens : {0, 1, 3, 17, 63, 130})
    for (const bool causal : {true, false})
      for (const LinearForm form : kForms) {
        const Index width = tokens == 17 ? 7 : 5, keys = causal || tokens == 0 ? tokens : tokens + 2;
        const auto q = random_tensor<float, 4>({2, 2, tokens, width}, 1),
                   k = random_tensor<float, 4>({2, 2, keys, width}, 2);
        const auto v = random_tensor<float, 4>({2, 2, keys, 9}, 3);
        const auto out = heed::linear_attention(Eigen::DefaultDevice(), map, q, k, v, {.causal = causal, .form = form});
        CHECK(error_of(out, naive_linear(map, q, k, v, causal)) < 1e-5);
      }
}

TEST_CASE("linear_attention: a sequence in pieces of any length gives the same") {
  const heed::TaylorFeatures map{0.5};
  const auto q = random_tensor<double, 4>({1, 2, 40, 4}, 1), k = random_tensor<double, 4>({1, 2, 40, 4}, 2);
  const auto v = random_tensor<double, 4>({1, 2, 40, 3}, 3);
  const auto want = naive_linear(map, q, k, v, true);
  for (const LinearForm form : kForms) {
    Tensor<double, 4> out(1, 2, 40, 3), state(1, 2, map.size(4), 3), end(state.dimensions());
    out.setConstant(kNaN);
    state.setZero();
    Index start = 0;
    for (const Index length : {1, 13, 0, 6, 20}) {
      const auto piece = [&](auto& x) { return heed::view(x).slice(2, start, length); };
      end.setConstant(kNaN);
      heed::linear_attention(Eigen::DefaultDevice(), map, piece(q), piece(k), piece(v), state,
                             {.form = form, .chunk = 5}, piece(out), end);
      state = end;
      start += length;
    }
    CHECK(error_of(out, want) < 1e-13);
  }
}

TEST_CASE("linear_attention: later tokens are not seen, NaN included; threads; errors") {
  const heed::IdentityFeatures map;
  auto q = random_tensor<float, 4>({1, 2, 50, 8}, 1), k = random_tensor<float, 4>({1, 2, 50, 8}, 2);
  auto v = random_tensor<float, 4>({1, 2, 50, 8}, 3);
  for (const LinearForm form : kForms) {
    const auto want = heed::linear_attention(Eigen::DefaultDevice(), map, q, k, v, {.form = form});
    auto k_nan = k, v_nan = v;
    k_nan(0, 1, 37, 2) = v_nan(0, 1, 37, 3) = float(kNaN);
    const auto got = heed::linear_attention(Eigen::DefaultDevice(), map, q, k_nan, v_nan, {.form = form});
    for (Index i = 0; i < 37; ++i) CHECK(std::memcmp(&got(0, 1, i, 0), &want(0, 1, i, 0), 8 * sizeof(float)) == 0);
    for (const int threads : {2, 3}) {
      Eigen::ThreadPool pool(threads);
      const auto more = heed::linear_attention(Eigen::ThreadPoolDevice(&pool, threads), map, q, k, v, {.form = form});
      CHECK(std::memcmp(more.data(), want.data(), sizeof(float) * std::size_t(want.size())) == 0);
    }
  }
  const auto short_k = random_tensor<float, 4>({1, 2, 49, 8}, 2);
  CHECK_THROWS_WITH(heed::linear_attention(Eigen::DefaultDevice(), map, q, short_k, v),
                    "linear_attention: v must have shape (B, H, M, Dv) = (1, 2, 49, Dv), got (1, 2, 50, 8)");
  CHECK_THROWS_WITH(heed::linear_attention(Eigen::DefaultDevice(), map, q, k, v, {.chunk = 0}),
                    "linear_attention: chunk must be 1 or more, got 0");
}
