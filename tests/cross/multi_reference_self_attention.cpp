// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/multi_reference_self_attention.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;

namespace {

struct Images {
  Tensor<double, 3> q = fresh<3>({2, 9, 4}), k = fresh<3>({2, 9, 4}), v = fresh<3>({2, 9, 4});
  Tensor<double, 4> k_ref = fresh<4>({2, 2, 9, 4}), v_ref = fresh<4>({2, 2, 9, 4});
  Tensor<double, 3> mask = Tensor<double, 3>(2, 6, 6);
};

// The definition, pair by pair.
Tensor<double, 2> naive(const Images& x, const std::vector<double>& weights, double style) {
  Tensor<double, 2> out(9, 8);
  for (Index h = 0; h < 2; ++h)
    for (Index i = 0; i < 9; ++i) {
      double total[2] = {0, 0}, sum[2][4] = {};
      const auto visit = [&](const auto& key, const auto& value, double bias, bool own) {
        double s = bias;
        for (Index d = 0; d < 4; ++d) s += x.q(h, i, d) * key(d) / 2;
        for (int kind = 0; kind < (own ? 2 : 1); ++kind) {
          total[kind] += std::exp(s);
          for (Index d = 0; d < 4; ++d) sum[kind][d] += std::exp(s) * value(d);
        }
      };
      for (Index j = 0; j < 9; ++j) {
        visit([&](Index d) { return x.k(h, j, d); }, [&](Index d) { return x.v(h, j, d); }, 0, true);
        for (Index r = 0; r < 2; ++r) {
          const double m = weights[std::size_t(r)] * x.mask(r, j / 3 * 6 / 3, j % 3 * 6 / 3);
          if (m != 0)
            visit([&](Index d) { return x.k_ref(r, h, j, d); }, [&](Index d) { return x.v_ref(r, h, j, d); }, m, false);
        }
      }
      for (Index d = 0; d < 4; ++d)
        out(i, h * 4 + d) = (1 - style) * sum[0][d] / total[0] + style * sum[1][d] / total[1];
    }
  return out;
}

}  // namespace

TEST_CASE("multi_reference_self_attention is one softmax over own and shown reference keys") {
  Images x;
  x.mask.setZero();
  for (Index i = 0; i < 6; ++i) x.mask(0, i, 2) = x.mask(1, 4, i) = 0.5 + double(i);
  heed::MultiReferenceSelfAttention attend{{.mask_weights = {1, -0.5}}};
  const auto run = [&] { return attend(x.q, x.k, x.v, x.k_ref, x.v_ref, x.mask); };
  CHECK(error_of(run(), naive(x, {1, -0.5}, 0)) < 1e-13);
  attend.options.style_fidelity = 0.3;
  CHECK(error_of(run(), naive(x, {1, -0.5}, 0.3)) < 1e-13);
  // A weight of 0 removes a reference, and what nothing sees is not read.
  attend.options.mask_weights = {0, 1};
  const auto want = naive(x, {0, 1}, 0.3);
  x.v_ref.chip(0, 0).setConstant(heed::test::kNaN);
  CHECK(error_of(run(), want) < 1e-13);
  attend.options.mask_weights = {1};
  CHECK_THROWS_WITH(run(), heed::test::contains("one number for each of 2 references"));
  x.q = fresh<3>({2, 8, 4});
  CHECK_THROWS_WITH(run(), heed::test::contains("must be a square, got 8"));
}
