// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/longformer_attention.hpp"

#include "catch.hpp"
#include "support/reference.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::kNaN;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

heed::LongformerAttention<float> make(Index channels, Index window, Index dilation) {
  heed::LongformerAttention<float> attend{{.num_heads = 2, .window_size = window, .dilation = dilation}};
  unsigned seed = 10;
  heed::for_each_parameter(attend, [&]<class P>(std::string_view, P& tensor) {
    if constexpr (P::NumIndices == 2) {
      tensor = random_tensor<float, 2>({channels, channels}, ++seed, 0.5);
    } else {
      tensor = random_tensor<float, 1>({channels}, ++seed);
    }
  });
  return attend;
}

}  // namespace

TEST_CASE("longformer_attention: windows, global tokens that differ by batch, padding") {
  for (const auto& [tokens, window, dilation, density] :
       {std::tuple(Index(1), Index(2), Index(1), 0.0), {17, 0, 1, 0.2}, {40, 3, 2, 0.1}, {70, 40, 1, 0.0}}) {
    const Index channels = 6, n = tokens, w = window, d = dilation;
    const auto attend = make(channels, w, d);
    const auto x = random_tensor<float, 3>({3, n, channels}, 1);
    const auto global = heed::test::random_mask<2>({3, n}, 2, density);
    const auto padding = heed::test::random_mask<2>({3, n}, 3, 0.3);
    const auto got = attend(x, global, padding);
    check_threads([&](const heed::DeviceRef& device) { return attend(device, x, global, padding); });

    const auto want_of = [&](const auto& projections, bool all) {
      NaiveAttention naive;
      naive.visible = [&](Index b, Index, Index i, Index j) {
        if (padding(b, j)) return false;
        return all || global(b, j) || ((j - i) % d == 0 && std::abs(j - i) <= w * d);
      };
      const auto q = projections.q(x), k = projections.k(x), v = projections.v(x);
      return naive(heed::split_heads(q, 2), heed::split_heads(k, 2), heed::split_heads(v, 2)).out;
    };
    const auto local = want_of(attend.local, false), from_all = want_of(attend.global, true);
    double worst = 0;
    for (Index b = 0; b < 3; ++b)
      for (Index i = 0; i < n; ++i)
        for (Index c = 0; c < channels; ++c) {
          const double want = padding(b, i) ? 0 : (global(b, i) ? from_all : local)(b, c / 3, i, c % 3);
          worst = std::max(worst, std::abs(want - double(got(b, i, c))));
        }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("longformer_attention: no global token reads no global parameter; padding is not seen; errors") {
  auto attend = make(4, 2, 1);
  attend.global = {};
  auto x = random_tensor<float, 3>({1, 9, 4}, 1);
  Tensor<std::uint8_t, 2> global(1, 9), padding(1, 9);
  global.setZero();
  padding.setZero();
  padding(0, 4) = 1;
  const auto want = attend(x, global, padding);
  for (Index c = 0; c < 4; ++c) CHECK(want(0, 4, c) == 0);
  x(0, 4, 0) = float(kNaN);
  const auto got = attend(x, global, padding);
  for (Index i = 0; i < 9; ++i) CHECK(got(0, i, 1) == want(0, i, 1));

  global(0, 0) = 1;
  CHECK_THROWS_WITH(attend(x, global), "longformer_attention: global.q.weight must have shape (4, 4), got (0, 0)");
  CHECK_THROWS_WITH(attend(x, Tensor<std::uint8_t, 2>(1, 8)),
                    "longformer_attention: global_mask must have shape (1, 9), got (1, 8)");
  attend.options.dilation = 0;
  CHECK_THROWS_AS(attend(x, global), heed::Error);
}
