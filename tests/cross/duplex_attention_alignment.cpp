// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/duplex_attention_alignment.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

// The keys of modality `own` of item b, pulled by tokens of modality `other`.
void pull(const Tensor<double, 4>& k, const Tensor<double, 4>& v, const Tensor<std::int32_t, 2>& modality, int own,
          int other, const Tensor<double, 1>& ratio, const heed::Linear<double>& fuse, Tensor<double, 4>& out) {
  const Index n = k.dimension(2), d = k.dimension(3);
  const auto unit = [&](Index b, Index h, Index i, Index c) {
    double squares = 0;
    for (Index e = 0; e < d; ++e) squares += std::pow(k(b, h, i, e) + 1e-6, 2);
    return (k(b, h, i, c) + 1e-6) / std::sqrt(squares);
  };
  for (Index b = 0; b < k.dimension(0); ++b) {
    bool has_own = false, has_other = false;
    for (Index i = 0; i < n; ++i) {
      has_own |= modality(b, i) == own;
      has_other |= modality(b, i) == other;
    }
    if (!has_own || !has_other) continue;
    for (Index h = 0; h < k.dimension(1); ++h) {
      Tensor<double, 2> g(d, d);
      g.setZero();
      for (Index r = 0; r < d; ++r) {
        double squares = 0;
        for (Index c = 0; c < d; ++c) {
          for (Index i = 0; i < n; ++i)
            if (modality(b, i) == other) g(r, c) += unit(b, h, i, r) * v(b, h, i, c);
          squares += g(r, c) * g(r, c);
        }
        for (Index c = 0; c < d; ++c) g(r, c) /= std::sqrt(squares);
      }
      for (Index i = 0; i < n; ++i) {
        if (modality(b, i) != own) continue;
        std::vector<double> moved(std::size_t(d), 0.0);
        for (Index c = 0; c < d; ++c) {
          for (Index r = 0; r < d; ++r) moved[std::size_t(c)] += unit(b, h, i, r) * g(r, c);
          moved[std::size_t(c)] = k(b, h, i, c) + ratio(c) * moved[std::size_t(c)];
        }
        for (Index o = 0; o < d; ++o) {
          out(b, h, i, o) = 0;
          for (Index c = 0; c < d; ++c) out(b, h, i, o) += fuse.weight(o, c) * moved[std::size_t(c)];
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("duplex_attention_alignment is its definition, for items with one modality too") {
  heed::DuplexAttentionAlignment<double> align;
  align.ratio_visual = fresh<1>({5});
  align.ratio_text = fresh<1>({5});
  align.fuse_visual = fresh_linear(5, 5, false);
  align.fuse_text = fresh_linear(5, 5, false);
  for (const Index n : {1, 3, 17}) {
    const auto k = fresh<4>({3, 2, n, 5}), v = fresh<4>({3, 2, n, 5});
    Tensor<std::int32_t, 2> modality(3, n);
    for (Index i = 0; i < n; ++i) {
      modality(0, i) = std::int32_t(i % 3);
      modality(1, i) = 2;  // no text
      modality(2, i) = 1;  // no image
    }
    for (const bool both : {false, true}) {
      align.options.both = both;
      Tensor<double, 4> want = k;
      pull(k, v, modality, 2, 1, align.ratio_visual, align.fuse_visual, want);
      if (both) pull(k, v, modality, 1, 2, align.ratio_text, align.fuse_text, want);
      CHECK(error_of(align(k, v, modality), want) < 1e-12);
    }
  }
  CHECK_THROWS_AS(align(fresh<4>({1, 2, 3, 4}), fresh<4>({1, 2, 3, 4}), Tensor<std::int32_t, 2>(1, 3)), heed::Error);
}
