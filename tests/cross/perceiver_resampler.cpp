// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/perceiver_resampler.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("perceiver_resampler takes its media one by one") {
  heed::PerceiverResampler<double> resample{{.num_heads = 2}};
  resample.latents = fresh<2>({3, 6});
  resample.norm = fresh_norm(6);
  resample.layer.resize(2);
  for (auto& part : resample.layer) {
    fill_projections(part.attention, 8, 6, 6, false);
    part.attention.norm_x = fresh_norm(6);
    part.attention.norm_latents = fresh_norm(6);
    part.ffn_norm = fresh_norm(6);
    part.ffn = fresh_mlp(6, 12, 6, false);
  }
  const auto x = fresh<5>({2, 2, 3, 4, 6});
  for (const bool embedded : {false, true}) {
    if (embedded) {
      resample.frame_embs = fresh<2>({5, 6});
      resample.media_embs = fresh<2>({2, 6});
    }
    const auto got = resample(x);
    for (Index b = 0; b < 2; ++b)
      for (Index t = 0; t < 2; ++t) {
        Tensor<double, 3> tokens(1, 12, 6);
        for (Index i = 0; i < 12; ++i)
          for (Index c = 0; c < 6; ++c)
            tokens(0, i, c) =
                x(b, t, i / 4, i % 4, c) + (embedded ? resample.frame_embs(i / 4, c) + resample.media_embs(t, c) : 0);
        Tensor<double, 3> z = heed::contiguous(heed::view(resample.latents).promote<3>());
        for (auto part : resample.layer) {
          part.attention.options = {resample.options.num_heads, resample.options.eps};
          z += Tensor<double, 3>(part.attention(tokens, z));
          z += Tensor<double, 3>(part.ffn(heed::DeviceRef(), heed::Gelu(), part.ffn_norm(z)));
        }
        const auto want = resample.norm(z);
        CHECK(error_of(heed::view(got).select(0, b).select(0, t), heed::view(want).select(0, 0)) < 1e-12);
      }
  }
  resample.frame_embs = fresh<2>({2, 6});
  CHECK_THROWS_WITH(resample(x),
                    "perceiver_resampler: frame_embs must have shape (n, C) with n of 3 or more and C = 6, "
                    "got (2, 6)");
}
