// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/mm_dit_block.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::MmDitBlock<double> block(Index heads, Index width, bool pre_only) {
  heed::MmDitBlock<double> result({.num_heads = heads, .qk_norm = heed::QueryKeyNorm::kRms, .pre_only = pre_only});
  const Index c = heads * width;
  for (auto* stream : {&result.attention.context, &result.attention.x}) {
    fill_projections(*stream, c, c, c);
    stream->q_norm.weight = fresh<1>({width});
    stream->k_norm.weight = fresh<1>({width});
  }
  result.x = {fresh_linear(6 * c, c), fresh_mlp(c, 5, c)};
  result.context = {fresh_linear((pre_only ? 2 : 6) * c, c), fresh_mlp(c, 5, c)};
  if (pre_only) result.context.mlp = {};
  return result;
}

// x (1 + m[scale]) + m[shift] of x brought to mean 0 and variance 1.
Tensor<double, 3> modulated(const Tensor<double, 3>& x, const Tensor<double, 2>& m, Index shift, Index scale) {
  const Index c = x.dimension(2);
  Tensor<double, 3> y = heed::layer_norm(x, Tensor<double, 1>(), Tensor<double, 1>(), 1e-6);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index n = 0; n < x.dimension(1); ++n)
      for (Index d = 0; d < c; ++d) y(b, n, d) = y(b, n, d) * (1 + m(b, scale * c + d)) + m(b, shift * c + d);
  return y;
}
Tensor<double, 3> gated(const Tensor<double, 3>& x, const Tensor<double, 2>& m, Index gate,
                        const Tensor<double, 3>& y) {
  const Index c = x.dimension(2);
  Tensor<double, 3> sum = x;
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index n = 0; n < x.dimension(1); ++n)
      for (Index d = 0; d < c; ++d) sum(b, n, d) += m(b, gate * c + d) * y(b, n, d);
  return sum;
}

}  // namespace

TEST_CASE("mm_dit_block is its definition over joint_attention") {
  for (const bool pre_only : {false, true})
    for (const Index n : {1, 3, 17}) {
      CAPTURE(pre_only, n);
      const auto op = block(2, 3, pre_only);
      const auto z = fresh<3>({2, 4, 6}), x = fresh<3>({2, n, 6});
      const auto cond = fresh<2>({2, 6});
      const auto mz = op.context.mod(heed::silu(cond)), mx = op.x.mod(heed::silu(cond));
      const auto joint = op.attention(modulated(z, mz, 0, 1), modulated(x, mx, 0, 1));
      const auto finish = [](const auto& s, const auto& o, const auto& m, const heed::Mlp<double>& mlp) {
        const auto y = gated(s, m, 2, o);
        return gated(y, m, 5, mlp(heed::DeviceRef(), heed::GeluTanh(), modulated(y, m, 3, 4)));
      };
      const auto got = op(z, x, cond);
      CHECK(error_of(got.x_out, finish(x, joint.x_out, mx, op.x.mlp)) < 1e-12);
      if (pre_only) CHECK(got.context_out.size() == 0);
      if (!pre_only) CHECK(error_of(got.context_out, finish(z, joint.context_out, mz, op.context.mlp)) < 1e-12);
    }
}

TEST_CASE("mm_dit_block: what does not fit") {
  const auto op = block(2, 3, false);
  CHECK_THROWS_WITH(op(fresh<3>({2, 4, 6}), fresh<3>({2, 3, 6}), fresh<2>({1, 6})),
                    "mm_dit_block: cond must have shape (2, 6), got (1, 6)");
}
