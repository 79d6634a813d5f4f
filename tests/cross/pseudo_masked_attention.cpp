// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/pseudo_masked_attention.hpp"

#include "support/cross.hpp"
#include "support/threads.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("pseudo_masked_attention: masked positions take weight and give no value") {
  for (const Index n : {1, 3, 17, 70})
    for (const double gamma : {0.0, 0.5, 3.0, 800.0}) {
      CAPTURE(n, gamma);
      const auto q = fresh<4>({2, 2, n, 4}), k = fresh<4>({2, 2, n, 4}), v = fresh<4>({2, 2, n, 3});
      NaiveAttention naive;
      naive.score = [&](double s, Index, Index, Index i, Index j) { return j <= i ? s : -gamma * double(j - i); };
      const auto p = naive(q, k, v).weights;
      Tensor<double, 4> want(2, 2, n, 3);
      want.setZero();
      for (Index b = 0; b < 2; ++b)
        for (Index h = 0; h < 2; ++h)
          for (Index i = 0; i < n; ++i)
            for (Index j = 0; j <= i; ++j)
              for (Index d = 0; d < 3; ++d) want(b, h, i, d) += p(b, h, i, j) * v(b, h, j, d);
      CHECK(error_of(heed::PseudoMaskedAttention{{.gamma = gamma}}(q, k, v), want) < 1e-12);
      check_threads([&](const heed::DeviceRef& device) {
        return heed::PseudoMaskedAttention{{.gamma = gamma}}(device, q, k, v);
      });
    }
  const auto q = fresh<4>({1, 1, 3, 2}), k = fresh<4>({1, 1, 4, 2});
  CHECK_THROWS_AS(heed::PseudoMaskedAttention()(q, k, k), heed::Error);
  CHECK_THROWS_AS(heed::PseudoMaskedAttention{{.gamma = -1}}(q, q, q), heed::Error);
}
