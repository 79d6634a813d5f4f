// SPDX-License-Identifier: Apache-2.0
#include "heed/neighborhood/neighborhood_attention.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

struct Axis {
  Index size, kernel, dilation = 1, stride = 1;
  bool causal = false;
};

// Whether i sees j, by the definition: the neighbours around a leader, moved into the axis.
bool neighbours(const Axis& a, Index i, Index j) {
  if (i % a.dilation != j % a.dilation) return false;
  const Index n = (a.size - i % a.dilation + a.dilation - 1) / a.dilation;
  const Index q = i / a.dilation, p = j / a.dilation, group = q / a.stride * a.stride;
  if (a.causal) {
    const Index leader = std::min(group + a.stride - 1, n - 1);
    return p <= q && p > leader - a.kernel;
  }
  Index first = std::min(group + a.stride / 2, n - 1) - a.kernel / 2;
  while (first + a.kernel > n) --first;
  while (first < 0) ++first;
  return p >= first && p < first + a.kernel;
}

template <std::size_t Axes>
void check(const std::array<Axis, Axes>& axes, Index heads = 2, Index kv_heads = 2, Index extra = 0,
           bool biased = false, Index width = 5, Index value_width = 3) {
  constexpr int rank = int(Axes) + 3;
  heed::NeighborhoodAttention<float, int(Axes)> attend;
  std::array<Index, rank> sizes{2};
  std::array<Index, Axes + 1> table{heads};
  Index tokens = 1;
  for (std::size_t a = 0; a < Axes; ++a) {
    sizes[a + 1] = axes[a].size;
    tokens *= axes[a].size;
    attend.options.kernel_size[a] = axes[a].kernel;
    attend.options.dilation[a] = axes[a].dilation;
    attend.options.stride[a] = axes[a].stride;
    attend.options.causal[a] = axes[a].causal;
    table[a + 1] = 2 * axes[a].kernel - 1;
  }
  sizes[rank - 2] = heads;
  sizes[rank - 1] = width;
  const auto q = random_tensor<float, rank>(sizes, 1);
  sizes[rank - 2] = kv_heads;
  const auto k = random_tensor<float, rank>(sizes, 2);
  sizes[rank - 1] = value_width;
  const auto v = random_tensor<float, rank>(sizes, 3);
  const auto k_extra = random_tensor<float, 4>({2, extra, kv_heads, width}, 4);
  const auto v_extra = random_tensor<float, 4>({2, extra, kv_heads, value_width}, 5);
  if (biased) attend.rpb = random_tensor<float, int(Axes) + 1>(table, 6);

  const auto place = [&](Index token, std::size_t axis) {
    for (std::size_t a = Axes - 1; a > axis; --a) token /= axes[a].size;
    return token % axes[axis].size;
  };
  NaiveAttention naive;
  naive.visible = [&](Index, Index, Index i, Index j) {
    for (std::size_t a = 0; a < Axes && j < tokens; ++a)
      if (!neighbours(axes[a], place(i, a), place(j, a))) return false;
    return true;
  };
  naive.score = [&](double s, Index, Index h, Index i, Index j) {
    if (!biased || j >= tokens) return s;
    Index at = h;
    for (std::size_t a = 0; a < Axes; ++a)
      at = at * table[a + 1] + (place(j, a) - place(i, a)) / axes[a].dilation + axes[a].kernel - 1;
    return s + double(attend.rpb.data()[at]);
  };
  const auto heads_of = [&](const auto& x, Index count) {
    return heed::View<const float, 4>(x.data(), {2, tokens, count, x.dimension(rank - 1)}).permute({0, 2, 1, 3});
  };
  const auto with_extra = [&](const auto& x, const Tensor<float, 4>& more) {
    Tensor<float, 4> all(2, kv_heads, tokens + extra, x.dimension(rank - 1));
    const auto own = heads_of(x, kv_heads);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < kv_heads; ++h)
        for (Index j = 0; j < tokens + extra; ++j)
          for (Index d = 0; d < all.dimension(3); ++d)
            all(b, h, j, d) = j < tokens ? own(b, h, j, d) : more(b, j - tokens, h, d);
    return all;
  };
  const auto want = naive(heads_of(q, heads), with_extra(k, k_extra), with_extra(v, v_extra));
  const auto got = attend(q, k, v, k_extra, v_extra);
  CHECK(error_of(heads_of(got.out, heads), want.out) < 2e-6);
  CHECK(error_of(heed::View<const float, 3>(got.lse.data(), {2, tokens, heads}).permute({0, 2, 1}), want.lse) < 2e-6);

  Eigen::ThreadPool pool(3);
  auto filled = got.out;
  filled.setConstant(float(kNaN));
  attend(Eigen::ThreadPoolDevice(&pool, 3), q, k, v, k_extra, v_extra, heed::into(filled));
  CHECK(std::memcmp(filled.data(), got.out.data(), sizeof(float) * std::size_t(filled.size())) == 0);
}

}  // namespace

TEST_CASE("neighborhood_attention: lines") {
  check<1>({{{1, 1}}});
  check<1>({{{17, 17}}}, 4, 2);
  check<1>({{{1100, 7}}}, 1, 1);
  check<1>({{{61, 6, 3, 2, true}}}, 2, 1, 3);
  check<1>({{{40, 5, 2}}}, 2, 2, 2, true);
}

TEST_CASE("neighborhood_attention: images and volumes") {
  check<2>({{{20, 7}, {33, 7}}});
  check<2>({{{9, 4, 2, 3}, {14, 5, 1, 5}}}, 4, 2);
  check<2>({{{13, 3, 1, 1, true}, {7, 7}}}, 2, 2, 1);
  check<2>({{{11, 5, 2}, {19, 3}}}, 3, 3, 0, true);
  check<2>({{{10, 3}, {35, 6, 1, 2}}}, 2, 1, 0, false, 19, 83);
  check<2>({{{21, 4, 2, 3}, {34, 9, 2}}}, 1, 1, 0, false, 32, 32);
  check<2>({{{6, 5, 1, 1, true}, {16, 13}}}, 1, 1, 0, false, 1, 64);
  check<3>({{{3, 3}, {6, 5}, {9, 3, 2}}});
  check<3>({{{5, 2}, {6, 3}, {20, 5}}}, 1, 1, 0, false, 16, 16);
  check<3>({{{7, 4, 1, 2, true}, {3, 1}, {5, 2}}}, 2, 1, 2);
}

TEST_CASE("neighborhood_attention: what is no neighbour is not seen, NaN included; errors") {
  heed::NeighborhoodAttention<float, 2> attend{{.kernel_size = {3, 3}}};
  const auto q = random_tensor<float, 5>({1, 12, 12, 1, 4}, 1);
  auto k = random_tensor<float, 5>({1, 12, 12, 1, 4}, 2), v = random_tensor<float, 5>({1, 12, 12, 1, 4}, 3);
  const auto want = attend(q, k, v).out;
  k(0, 6, 6, 0, 1) = v(0, 6, 6, 0, 2) = float(kNaN);
  const auto got = attend(q, k, v).out;
  for (Index y = 0; y < 12; ++y)
    for (Index x = 0; x < 12; ++x) {
      const bool sees = std::abs(y - 6) <= 1 && std::abs(x - 6) <= 1;
      CHECK(std::isnan(got(0, y, x, 0, 2)) == sees);
      if (!sees) CHECK(got(0, y, x, 0, 0) == want(0, y, x, 0, 0));
    }

  attend.options.dilation = {1, 5};
  CHECK_THROWS_WITH(attend(q, k, v),
                    "neighborhood_attention: kernel_size 3 times dilation 5 of axis 1 must be in 1 .. S = 12");
  attend.options.dilation = {1, 1};
  attend.options.stride = {4, 1};
  CHECK_THROWS_WITH(attend(q, k, v), "neighborhood_attention: stride of axis 0 must be in 1 .. kernel_size = 3, got 4");
  attend.options.stride = {2, 1};
  attend.rpb = random_tensor<float, 3>({1, 5, 5}, 4);
  CHECK_THROWS_WITH(attend(q, k, v), "neighborhood_attention: rpb needs odd kernels, stride 1 and no causal axis");
  CHECK_THROWS_AS(attend(q, k, random_tensor<float, 5>({1, 12, 11, 1, 4}, 3)), heed::Error);
}

TEST_CASE("neighborhood_attention: tensors of any strides, an output among them") {
  const heed::NeighborhoodAttention<float, 2> attend{{.kernel_size = {3, 5}}};
  const auto q = random_tensor<float, 5>({1, 7, 18, 2, 16}, 1), k = random_tensor<float, 5>({1, 7, 18, 2, 16}, 2),
             v = random_tensor<float, 5>({1, 7, 18, 2, 16}, 3);
  const auto want = attend(q, k, v);
  const auto across = [](const Tensor<float, 5>& x) {
    const Eigen::array<int, 5> order{0, 3, 4, 2, 1};
    return Tensor<float, 5>(x.shuffle(order));
  };
  const auto back = [](auto& x) { return heed::view(x).permute({0, 4, 3, 1, 2}); };
  auto q_across = across(q), k_across = across(k), v_across = across(v);
  Tensor<float, 5> out(q_across.dimensions());
  Tensor<float, 4> lse(1, 7, 18, 2);
  out.setConstant(float(kNaN));
  lse.setConstant(float(kNaN));
  attend(Eigen::DefaultDevice(), back(q_across), back(k_across), back(v_across), heed::into(back(out), lse));
  for (Index y = 0; y < 7; ++y)
    for (Index x = 0; x < 18; ++x)
      for (Index h = 0; h < 2; ++h) {
        CHECK(lse(0, y, x, h) == want.lse(0, y, x, h));
        for (Index d = 0; d < 16; ++d) CHECK(out(0, h, d, x, y) == want.out(0, y, x, h, d));
      }
}
