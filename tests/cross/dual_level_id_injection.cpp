// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/dual_level_id_injection.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("dual_level_id_injection is its definition") {
  for (const auto& [n, m, encoders, patches] : {std::array<Index, 4>{1, 1, 1, 1}, {5, 3, 2, 4}, {17, 4, 3, 2}}) {
    CAPTURE(n, m, encoders, patches);
    heed::DualLevelIdInjection<double> inject{{.num_heads = 2}};
    inject.global_mlp = fresh_mlp(5, 7, encoders * 4 + 5);
    inject.local_mlp = fresh_mlp(5, 7, encoders * 4);
    for (auto* part : {&inject.id, &inject.text}) {
      part->norm = fresh_norm(6);
      part->q = fresh_linear(6, 6, false);
      part->source = {fresh_linear(6, 5, false), fresh_linear(6, 5, false)};
      part->out = fresh_linear(6, 6, false);
    }
    const auto x = fresh<3>({2, n, 6}), text = fresh<3>({2, m, 5}), cls = fresh<3>({2, encoders, 4});
    const auto patch = fresh<4>({2, encoders, patches, 4});
    Tensor<std::int32_t, 1> word(2);
    word(0) = 0;
    word(1) = std::int32_t(m - 1);

    const auto mlp = [](const heed::Mlp<double>& network, const Tensor<double, 3>& in) {
      return Tensor<double, 3>(network(heed::DeviceRef(), heed::Gelu(), in));
    };
    Tensor<double, 3> known(2, 1, encoders * 4 + 5), all(2, patches, encoders * 4), fused = text;
    for (Index b = 0; b < 2; ++b) {
      for (Index c = 0; c < encoders * 4; ++c) known(b, 0, c) = cls(b, c / 4, c % 4);
      for (Index c = 0; c < 5; ++c) known(b, 0, encoders * 4 + c) = text(b, word(b), c);
      for (Index p = 0; p < patches; ++p)
        for (Index c = 0; c < encoders * 4; ++c) all(b, p, c) = patch(b, c / 4, p, c % 4);
    }
    const auto w = mlp(inject.global_mlp, known), tokens = mlp(inject.local_mlp, all);
    for (Index b = 0; b < 2; ++b)
      for (Index c = 0; c < 5; ++c) fused(b, word(b), c) = w(b, 0, c);
    const auto read = [](const auto& part, const Tensor<double, 3>& y, const Tensor<double, 3>& source) {
      const auto q = apply(part.q, part.norm(y));
      return Tensor<double, 3>(
          y + apply(part.out, mixed(q, apply(part.source.k, source), apply(part.source.v, source), 2)));
    };
    const auto got = inject(x, text, cls, patch, word);
    CHECK(error_of(got.text_fused, fused) < 1e-12);
    CHECK(error_of(got.id_tokens, tokens) < 1e-12);
    CHECK(error_of(got.out, read(inject.text, read(inject.id, x, tokens), fused)) < 1e-12);
    word(1) = std::int32_t(m);
    CHECK_THROWS_AS(inject(x, text, cls, patch, word), heed::Error);
    word(1) = -1;
    CHECK_THROWS_AS(inject(x, text, cls, patch, word), heed::Error);
  }
}
