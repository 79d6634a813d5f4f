// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/window_product.hpp"

#include <vector>

#include "catch.hpp"
#include "support/guarded.hpp"
#include "support/panels.hpp"

using heed::Index;
using heed::test::Noise;
namespace kernel = heed::kernel;
namespace simd = heed::simd;

TEMPLATE_TEST_CASE("window_dot: each lane meets its own neighbours", "", float, double) {
  using T = TestType;
  constexpr Index w = simd::kLanes<T>, depth = 5, pitch = 3 * w;
  Noise noise(1);
  const Index span = GENERATE(1, 2, 6, 7, 13);
  const int lines = GENERATE(range(1, kernel::kWindowLines + 1));
  alignas(64) T q[kernel::kWindowLines * depth * w], k[(depth + 1) * pitch];
  for (T& x : q) x = T(noise());
  for (T& x : k) x = T(noise());
  alignas(64) simd::IndexLane<T> from[w];
  for (Index i = 0; i < w; ++i) from[i] = simd::IndexLane<T>(i / 2);
  alignas(64) T scores[kernel::kWindowLines][16 * w];
  T* to[kernel::kWindowLines];
  simd::Batch<T> highest[kernel::kWindowLines];
  for (int r = 0; r < kernel::kWindowLines; ++r) to[r] = scores[r], highest[r] = simd::Batch<T>(T(0.25));
  kernel::window_dot<T>(q, lines, k, pitch, depth, simd::IndexBatch<T>::load_aligned(from), span, to, highest);
  for (int r = 0; r < lines; ++r) {
    alignas(64) T top[w];
    highest[r].store_aligned(top);
    for (Index i = 0; i < w; ++i) {
      T most = T(0.25);
      for (Index s = 0; s < span; ++s) {
        double sum = 0;
        for (Index d = 0; d < depth; ++d) sum += double(q[(r * depth + d) * w + i]) * double(k[d * pitch + s + i / 2]);
        CHECK(std::abs(double(scores[r][s * w + i]) - sum) < 1e-5);
        most = std::max(most, scores[r][s * w + i]);
      }
      CHECK(top[i] == most);
    }
  }
}

TEMPLATE_TEST_CASE("window_mix: neighbours that slide, and any others", "", float, double) {
  using T = TestType;
  constexpr Index w = simd::kLanes<T>, planes = 2, lines = 3;
  Noise noise(2);
  const Index span = GENERATE(1, 3, 4, 7), width = GENERATE(1, int(w), int(2 * w) - 1);
  const bool slides = GENERATE(true, false);
  const kernel::WindowRows rows{planes, lines, span, lines * 12 * 2 * w + 1, 12 * 2 * w, 2 * w};
  std::vector<T> v(std::size_t(planes * rows.plane_step)), weights(std::size_t(planes * lines * span * w));
  for (T& x : v) x = T(noise());
  for (T& x : weights) x = T(noise());
  Index starts[kernel::kWindowQueries];
  for (Index q = 0; q < kernel::kWindowQueries; ++q) starts[q] = (slides ? q : q / 2) * rows.step;
  const T factor[kernel::kWindowQueries] = {T(1), T(2), T(0.5), T(3)};
  const Index count = GENERATE(1, 4);
  std::vector<T> out(std::size_t(kernel::kWindowQueries * width + w), T(-7));
  const kernel::WindowTarget<T> to{out.data(), width, count, width};
  kernel::with_batches(int((width + w - 1) / w), [&]<int NV>() {
    kernel::window_mix<NV, T>(weights.data(), v.data(), rows, starts, factor, to);
  });
  for (Index q = 0; q < kernel::kWindowQueries; ++q)
    for (Index c = 0; c < width; ++c) {
      double sum = 0;
      for (Index n = 0; n < planes * lines * span; ++n) {
        const Index place =
            n / (lines * span) * rows.plane_step + n / span % lines * rows.line_step + n % span * rows.step;
        sum += double(weights[std::size_t(n * w + q)]) * double(v[std::size_t(starts[q] + place + c)]);
      }
      const T got = out[std::size_t(q * width + c)];
      if (q < count) {
        CHECK(std::abs(double(got) - sum * double(factor[q])) < 1e-4);
      } else {
        CHECK(got == T(-7));
      }
    }
}
