// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/coupled_decoupled_cross_attention.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("coupled_decoupled_cross_attention: audio is heard in its own frame, where the mask is not 0") {
  heed::CoupledDecoupledCrossAttention<double> attend{{.num_heads = 2, .audio_scale = 0.7}};
  attend.q = fresh_linear(6, 6);
  attend.out = fresh_linear(6, 6);
  attend.q_norm.weight = fresh<1>({6});
  for (auto* source : {&attend.text, &attend.image, &attend.audio}) {
    source->k = fresh_linear(6, 6);
    source->v = fresh_linear(6, 6);
    source->k_norm.weight = fresh<1>({6});
  }
  const Index frames = 3, each = 5;
  const auto x = fresh<3>({2, frames * each, 6}), text = fresh<3>({2, 4, 6}), image = fresh<3>({2, 7, 6});
  const auto audio = fresh<4>({2, frames, 2, 6});
  auto mask = fresh<2>({2, each});
  mask(1, 3) = 0;
  const auto before = attend(x, text, image, audio, mask);
  auto changed = audio;
  changed(1, 1, 0, 4) += 1;
  const auto after = attend(x, text, image, changed, mask);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < frames * each; ++i) {
      double difference = 0;
      for (Index c = 0; c < 6; ++c) difference = std::max(difference, std::abs(after(b, i, c) - before(b, i, c)));
      CHECK((difference > 0) == (b == 1 && i / each == 1 && i % each != 3));
    }
  attend.options.audio_scale = 0;
  const auto silent = attend(x, text, image, audio, mask);
  CHECK(error_of(attend(x, text, image, changed, mask), silent) == 0);
  CHECK_THROWS_WITH(attend(x, text, image, fresh<4>({2, 4, 2, 6}), mask),
                    heed::test::contains("must divide the 15 tokens"));
}
