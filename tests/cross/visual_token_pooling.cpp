// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/visual_token_pooling.hpp"

#include <cmath>

#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/resample.hpp"
#include "support/cross.hpp"
#include "support/finite_differences.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;
using heed::TokenPooling;

namespace {

// The weights of n inputs in output o of m.
std::vector<double> weights(TokenPooling mode, Index o, Index n, Index m) {
  std::vector<double> w(std::size_t(n), 0.0);
  if (mode == TokenPooling::kAverage) {
    const Index first = o * n / m, last = ((o + 1) * n + m - 1) / m;
    for (Index i = first; i < last; ++i) w[std::size_t(i)] = 1.0 / double(last - first);
    return w;
  }
  const double f = std::max((double(o) + 0.5) * double(n) / double(m) - 0.5, 0.0);
  const Index low = std::min(Index(f), n - 1), high = std::min(low + 1, n - 1);
  w[std::size_t(low)] += 1 - (f - double(low));
  w[std::size_t(high)] += f - double(low);
  return w;
}

}  // namespace

TEST_CASE("visual_token_pooling, up and down, on either axis") {
  for (const auto mode : {TokenPooling::kAverage, TokenPooling::kBilinear})
    for (const auto& [h, w, oh, ow] :
         {std::array<Index, 4>{1, 1, 1, 1}, {9, 9, 3, 3}, {5, 3, 2, 3}, {2, 3, 5, 4}, {7, 17, 3, 5}}) {
      CAPTURE(int(mode), h, w, oh, ow);
      const heed::VisualTokenPooling pool{{.grid = {h, w}, .out_grid = {oh, ow}, .mode = mode}};
      auto x = fresh<3>({2, h * w, 3});
      Tensor<double, 3> want(2, oh * ow, 3);
      want.setZero();
      for (Index o = 0; o < oh * ow; ++o) {
        const auto rows = weights(mode, o / ow, h, oh), columns = weights(mode, o % ow, w, ow);
        for (Index i = 0; i < h * w; ++i)
          for (Index e = 0; e < 6; ++e)
            want(e / 3, o, e % 3) += rows[std::size_t(i / w)] * columns[std::size_t(i % w)] * x(e / 3, i, e % 3);
      }
      CHECK(error_of(pool(x), want) < 1e-13);
      if (h == 5) check_gradients([&](auto&, const auto& v) { return pool(v); }, x);
    }
  CHECK_THROWS_AS((heed::VisualTokenPooling{{.grid = {2, 3}, .out_grid = {1, 1}}}(fresh<3>({1, 5, 2}))), heed::Error);
  CHECK_THROWS_AS((heed::VisualTokenPooling{{.grid = {1, 5}, .out_grid = {0, 1}}}(fresh<3>({1, 5, 2}))), heed::Error);
}
