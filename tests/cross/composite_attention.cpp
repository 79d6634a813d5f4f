// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/composite_attention.hpp"

#include "support/cross.hpp"
#include "support/threads.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

TEST_CASE("composite_attention is self-attention whose visual tokens see themselves alone") {
  for (const auto& [nv, nt] : {std::pair<Index, Index>{1, 1}, {3, 17}, {17, 3}, {0, 4}, {4, 0}}) {
    CAPTURE(nv, nt);
    heed::CompositeAttention<double> attend{{.num_heads = 2}};
    fill_projections(attend, 6, 6, 6);
    const auto visual = fresh<3>({2, nv, 6}), text = fresh<3>({2, nt, 6});
    const auto all = heed::concat<1>(visual, text);
    NaiveAttention naive;
    naive.visible = [nv = nv](Index, Index, Index i, Index j) { return i < nv ? i == j : j <= i; };
    const auto want =
        apply(attend.out, mixed(apply(attend.q, all), apply(attend.k, all), apply(attend.v, all), 2, naive));
    const auto got = attend(visual, text);
    CHECK(error_of(got.visual_out, heed::view(want).slice(1, 0, nv)) < 1e-12);
    CHECK(error_of(got.text_out, heed::view(want).slice(1, nv, nt)) < 1e-12);
    check_threads([&](const heed::DeviceRef& device) { return attend(device, visual, text).text_out; });
    attend.options.visual_update = heed::VisualUpdate::kNone;
    const auto none = attend(visual, text);
    CHECK(error_of(none.text_out, got.text_out) == 0);
    CHECK(error_of(none.visual_out, Tensor<double, 3>(Tensor<double, 3>(2, nv, 6).setZero())) == 0);
  }
}
