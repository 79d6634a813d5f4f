// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/depthwise_1d.hpp"

#include "support/finite_differences.hpp"

using heed::DepthwiseOptions;
using heed::Index;
using heed::Tensor;
using heed::View;
using heed::test::check_gradients;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
Tensor<double, 3> naive(const View<const T, 3>& x, const Tensor<T, 2>& weight, const Tensor<T, 1>& bias,
                        const DepthwiseOptions& o) {
  const Index taps = weight.dimension(1);
  Tensor<double, 3> out(x.size(0), std::max<Index>(0, x.size(1) + o.left + o.right - (taps - 1) * o.dilation),
                        x.size(2));
  for (Index b = 0; b < out.dimension(0); ++b)
    for (Index n = 0; n < out.dimension(1); ++n)
      for (Index d = 0; d < out.dimension(2); ++d) {
        out(b, n, d) = bias.size() > 0 ? double(bias(d)) : 0;
        for (Index c = 0; c < taps; ++c) {
          const Index from = n + c * o.dilation - o.left;
          if (from >= 0 && from < x.size(1)) out(b, n, d) += double(weight(d, c)) * double(x(b, from, d));
        }
      }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("depthwise_1d is its sum, whatever the sizes, padding and dilation", "", float, double) {
  using T = TestType;
  const double tolerance = std::same_as<T, float> ? 1e-5 : 1e-14;
  for (const Index n : {0, 1, 2, 3, 17, 63})
    for (const Index d : {1, 3, 16, 17, 63})
      for (const Index taps : {1, 3, 4, 7}) {
        const auto x = random_tensor<T, 3>({2, n, d}, 1);
        const auto weight = random_tensor<T, 2>({d, taps}, 2);
        const auto bias = taps == 4 ? Tensor<T, 1>() : random_tensor<T, 1>({d}, 3);
        for (const DepthwiseOptions& o : {DepthwiseOptions::causal(taps), DepthwiseOptions::causal(taps, 3),
                                          DepthwiseOptions{}, DepthwiseOptions{.left = taps / 2, .right = taps / 2},
                                          DepthwiseOptions{.left = 1, .right = 9, .dilation = 2}})
          CHECK(error_of(heed::depthwise_1d(x, weight, bias, o), naive<T>(heed::const_view(x), weight, bias, o)) <
                tolerance);
      }
}

TEST_CASE("depthwise_1d of heads in place, of 16-bit storage, and on threads") {
  const auto x = random_tensor<float, 3>({2, 65, 12}, 1);
  const auto weight = random_tensor<float, 2>({4, 3}, 2);
  const auto bias = random_tensor<float, 1>({4}, 3);
  const auto o = DepthwiseOptions::causal(3);
  const auto heads = heed::const_view(x).split(2, 4).permute({0, 2, 1, 3});
  const auto got = heed::depthwise_1d(heads, weight, bias, o);
  for (Index h = 0; h < 3; ++h)
    CHECK(error_of(heed::const_view(got).select(1, h), naive<float>(heads.select(1, h), weight, bias, o)) < 1e-5);
  // Channels that are not neighbours in memory.
  const auto turned = random_tensor<float, 3>({2, 4, 33}, 4);
  const auto across = heed::const_view(turned).permute({0, 2, 1});
  CHECK(error_of(heed::depthwise_1d(across, weight, bias, o), naive<float>(across, weight, bias, o)) < 1e-5);

  Tensor<heed::bfloat16, 3> stored(2, 65, 12);
  for (Index i = 0; i < x.size(); ++i) stored.data()[i] = heed::bfloat16(x.data()[i]);
  const Tensor<heed::bfloat16, 4> rounded =
      heed::depthwise_1d(heed::const_view(stored).split(2, 4).permute({0, 2, 1, 3}), weight, bias, o);
  CHECK(error_of(rounded, got) < 2e-2);

  Eigen::ThreadPool pool(3);
  const auto long_x = random_tensor<float, 3>({3, 5000, 4}, 5);
  const auto one = heed::depthwise_1d(long_x, weight, bias, o);
  const auto many = heed::depthwise_1d(Eigen::ThreadPoolDevice(&pool, 3), long_x, weight, bias, o);
  CHECK(std::equal(one.data(), one.data() + one.size(), many.data()));
}

TEST_CASE("depthwise_1d: a causal output reads no later token, and what does not fit is refused") {
  auto x = random_tensor<float, 3>({1, 20, 5}, 1);
  heed::CausalDepthwise<float> layer{random_tensor<float, 2>({5, 4}, 2), {}};
  const auto want = layer(x);
  for (Index n = 11; n < 20; ++n)
    for (Index d = 0; d < 5; ++d) x(0, n, d) = float(heed::test::kNaN);
  const auto got = layer(x);
  for (Index n = 0; n < 11; ++n)
    for (Index d = 0; d < 5; ++d) CHECK(got(0, n, d) == want(0, n, d));
  layer.bias.resize(4);
  CHECK_THROWS_WITH(layer(x), "depthwise_1d: bias must be empty or have shape (5), got (4)");
  CHECK_THROWS_AS(heed::depthwise_1d(x, layer.weight, Tensor<float, 1>(), {.dilation = 0}), heed::Error);
  CHECK_THROWS_AS(heed::depthwise_1d(x, Tensor<float, 2>(4, 4), Tensor<float, 1>(), {}), heed::Error);
}

TEST_CASE("Gradients of depthwise_1d") {
  auto x = random_tensor<double, 3>({2, 5, 6}, 1);
  auto weight = random_tensor<double, 2>({3, 3}, 2);
  auto bias = random_tensor<double, 1>({3}, 3);
  for (const DepthwiseOptions& o : {DepthwiseOptions::causal(3), DepthwiseOptions::causal(3, 2),
                                    DepthwiseOptions{.left = 1, .right = 4}, DepthwiseOptions{}})
    check_gradients(
        [&](auto&, const auto& v, const auto& w, const auto& b) {
          return heed::depthwise_1d(v.split(2, 3).permute({0, 2, 1, 3}), w, b, o);
        },
        x, weight, bias);
}
