// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/multimodal_dual_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/rotary.hpp"
#include "heed/self/rotary_position_embedding.hpp"
#include "support/cross.hpp"
#include "support/finite_differences.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::MultimodalDualAttention<double> attention(Index heads, Index groups, Index c, bool full) {
  heed::MultimodalDualAttention<double> attend{{.num_heads = heads, .num_kv_heads = groups, .visual_full = full}};
  attend.q = fresh_linear(heads * 4, c, false);
  attend.k = fresh_linear(groups * 4, c, false);
  attend.v = fresh_linear(groups * 4, c, false);
  attend.out = fresh_linear(c, heads * 4, false);
  return attend;
}

// Text, an image, text and padding; item 1 begins with its image.
Tensor<std::int32_t, 2> modalities(Index n) {
  Tensor<std::int32_t, 2> modality(2, n);
  for (Index i = 0; i < n; ++i) {
    modality(0, i) = std::int32_t(i < n / 4 ? 1 : i < n / 2 ? 2 : i < n - 2 ? 1 : 0);
    modality(1, i) = std::int32_t(i < n / 3 ? 2 : 1);
  }
  return modality;
}

}  // namespace

TEST_CASE("multimodal_dual_attention: two softmaxes over one set of scores") {
  for (const Index n : {1, 3, 17, 70})
    for (const bool full : {false, true})
      for (const double base : {0.0, 100.0}) {
        CAPTURE(n, full, base);
        auto attend = attention(4, 2, 5, full);
        attend.options.rope_base = base;
        const auto x = fresh<3>({2, n, 5});
        const auto modality = modalities(n);
        auto q = heads_of(apply(attend.q, x), 4), k = heads_of(apply(attend.k, x), 2);
        const auto v = heads_of(apply(attend.v, x), 2);
        if (base > 0) {
          const heed::RotaryPositionEmbedding rope{{.base = base}};
          const auto at = heed::position_range(0, n);
          q = rope(q, at);
          k = rope(k, at);
        }
        NaiveAttention image, text;
        image.visible = [&](Index b, Index, Index i, Index j) {
          if (modality(b, j) != 2) return false;
          return full || (modality(b, i) == 2 ? j == i : j <= i);
        };
        text.visible = [&](Index b, Index, Index i, Index j) { return modality(b, j) == 1 && j <= i; };
        const Tensor<double, 4> sum = image(q, k, v).out + text(q, k, v).out;
        CHECK(error_of(attend(x, modality), apply(attend.out, merged(sum))) < 1e-12);
      }
  CHECK_THROWS_AS(attention(4, 2, 5, true)(fresh<3>({2, 3, 5}), modalities(4)), heed::Error);
}

TEST_CASE("Gradients of multimodal_dual_attention, with rows without a key") {
  auto attend = attention(2, 1, 3, false);
  auto x = fresh<3>({2, 6, 3});
  const auto modality = modalities(6);
  check_gradients([&](auto&, const auto& v) { return attend(v, modality); }, x, attend);
}
