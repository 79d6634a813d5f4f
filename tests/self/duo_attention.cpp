// SPDX-License-Identifier: Apache-2.0
#include "heed/self/duo_attention.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/blend.hpp"
#include "support/finite_differences.hpp"

using heed::DuoAttention;
using heed::DuoMode;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

Tensor<double, 4> naive(const DuoAttention<float>& attend, const Tensor<float, 4>& q, const Tensor<float, 4>& k,
                        const Tensor<float, 4>& v) {
  const auto& o = attend.options;
  const auto one = [&](bool streaming) {
    heed::test::NaiveAttention naive;
    naive.visible = [&, streaming](Index, Index, Index i, Index j) {
      return j <= i && (!streaming || j < o.sink_size || i - j < o.recent_size);
    };
    return naive(q, k, v).out;
  };
  const auto full = one(false), stream = one(true);
  Tensor<double, 4> out = full;
  for (Index b = 0; b < q.dimension(0); ++b)
    for (Index h = 0; h < q.dimension(1); ++h) {
      const double gate = double(attend.gate(h * k.dimension(1) / q.dimension(1)));
      const double a = o.mode == DuoMode::kHard ? double(gate > o.threshold) : std::clamp(gate, 0.0, 1.0);
      for (Index i = 0; i < q.dimension(2); ++i)
        for (Index d = 0; d < v.dimension(3); ++d)
          out(b, h, i, d) = a * full(b, h, i, d) + (1 - a) * stream(b, h, i, d);
    }
  return out;
}

}  // namespace

TEST_CASE("duo_attention is its definition, in both modes") {
  for (const auto mode : {DuoMode::kBlend, DuoMode::kHard})
    for (const Index n : {0, 1, 3, 17, 63, 150})
      for (const Index sinks : {0, 2})
        for (const Index recent : {0, 1, 5, 40}) {
          if (sinks + recent == 0) continue;
          CAPTURE(int(mode), n, sinks, recent);
          DuoAttention<float> attend{{.mode = mode, .sink_size = sinks, .recent_size = recent}};
          attend.gate.resize(3);
          attend.gate.setValues({0.7f, -0.2f, 0.5f});
          const auto q = random_tensor<float, 4>({2, 6, n, 8}, 1), k = random_tensor<float, 4>({2, 3, n, 8}, 2);
          const auto v = random_tensor<float, 4>({2, 3, n, 5}, 3);
          CHECK(error_of(attend(q, k, v), naive(attend, q, k, v)) < 1e-5);
        }
}

TEST_CASE("duo_attention: a hard streaming head never reads what is between the sinks and the recent past") {
  DuoAttention<float> attend{{.sink_size = 4, .recent_size = 16}};
  attend.gate.resize(2);
  attend.gate.setValues({0.f, 1.f});
  const auto q = random_tensor<float, 4>({1, 2, 300, 8}, 1);
  auto k = random_tensor<float, 4>({1, 2, 300, 8}, 2), v = random_tensor<float, 4>({1, 2, 300, 8}, 3);
  const auto want = attend(q, k, v);
  for (Index j = 4; j < 250; ++j) k(0, 0, j, 0) = v(0, 0, j, 1) = float(heed::test::kNaN);
  const auto got = attend(q, k, v);
  for (Index i = 266; i < 300; ++i)
    for (Index d = 0; d < 8; ++d) {
      CHECK(got(0, 0, i, d) == want(0, 0, i, d));
      CHECK(got(0, 1, i, d) == want(0, 1, i, d));
    }
  attend.gate.resize(3);
  CHECK_THROWS_WITH(attend(q, k, v), "duo_attention: gate must have shape (2), got (3)");
  attend.options.recent_size = -1;
  CHECK_THROWS_AS(attend(q, k, v), heed::Error);
}

TEST_CASE("Gradients of duo_attention") {
  DuoAttention<double> attend{{.mode = DuoMode::kBlend, .sink_size = 1, .recent_size = 2}};
  attend.gate.resize(3);
  attend.gate.setValues({0.7, -0.2, 1.3});
  auto q = random_tensor<double, 4>({1, 6, 5, 2}, 1), k = random_tensor<double, 4>({1, 3, 5, 2}, 2);
  auto v = random_tensor<double, 4>({1, 3, 5, 2}, 3);
  const auto f = [&](auto&, const auto& x, const auto& y, const auto& z) { return attend(x, y, z); };
  heed::test::check_gradients(f, q, k, v, attend);
  attend.options.mode = DuoMode::kHard;
  heed::test::check_gradients(f, q, k, v, attend);
}
