// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/modality_mutual_attention.hpp"

#include "support/cross.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::fresh;

TEST_CASE("modality_mutual_attention is masked attention under its rule, over tiles of any place") {
  const heed::ModalityMutualAttention attend;
  const Index n = 70;
  for (const auto& [a, b, c] : {std::array<int, 3>{0, 0, 0}, {3, 20, 20}, {1, 40, 66}, {33, 34, 70}}) {
    CAPTURE(a, b, c);
    const auto q = fresh<4>({2, 2, n, 5}), k = fresh<4>({2, 2, n, 5});
    auto v = fresh<4>({2, 2, n, 3});
    Tensor<std::uint8_t, 2> valid(2, n);
    valid.setConstant(1);
    valid(1, 0) = valid(1, 50) = 0;
    Tensor<std::int32_t, 2> spans(2, 3);
    for (Index i = 0; i < 2; ++i)
      for (Index x = 0; x < 3; ++x) spans(i, x) = std::int32_t(std::array{a, b, c}[std::size_t(x)]);
    for (Index h = 0; h < 2; ++h)
      for (Index d = 0; d < 3; ++d) v(1, h, 50, d) = heed::test::kNaN;
    const auto mask = attend.mask(valid, spans);
    heed::test::NaiveAttention naive;
    naive.visible = [&](Index batch, Index, Index i, Index j) { return mask(batch, i, j) != 0; };
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        for (Index batch = 0; batch < 2; ++batch)
          CHECK(bool(mask(batch, i, j)) == (valid(batch, j) != 0 && (j <= i || (a <= i && i < b && b <= j && j < c))));
    CHECK(error_of(attend(q, k, v, valid, spans), naive(q, k, v).out) < 1e-13);
  }
}
