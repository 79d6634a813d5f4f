// SPDX-License-Identifier: Apache-2.0
#include "heed/block/conv_2d.hpp"

#include <cstring>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Conv2d;
using heed::ConvOptions;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

template <class T>
Tensor<double, 4> naive(const Tensor<T, 4>& x, const Tensor<T, 4>& weight, const Tensor<T, 1>& bias,
                        const ConvOptions& o, Index height, Index width) {
  const Index batch = x.dimension(0), outs = weight.dimension(0), channels = weight.dimension(1);
  Tensor<double, 4> out(batch, outs, height, width);
  for (Index b = 0; b < batch; ++b)
    for (Index c = 0; c < outs; ++c)
      for (Index i = 0; i < height; ++i)
        for (Index j = 0; j < width; ++j) {
          double sum = bias.size() > 0 ? double(bias(c)) : 0;
          for (Index e = 0; e < channels; ++e)
            for (Index u = 0; u < weight.dimension(2); ++u)
              for (Index v = 0; v < weight.dimension(3); ++v) {
                const Index y = i * o.stride[0] - o.padding[0] + u * o.dilation[0];
                const Index z = j * o.stride[1] - o.padding[1] + v * o.dilation[1];
                if (y < 0 || z < 0 || y >= x.dimension(2) || z >= x.dimension(3)) continue;
                const Index from = c / (outs / o.groups) * channels + e;
                sum += double(weight(c, e, u, v)) * double(x(b, from, y, z));
              }
          out(b, c, i, j) = sum;
        }
  return out;
}

struct Problem {
  std::array<Index, 4> x, weight;
  ConvOptions options;
};

const std::vector<Problem> kProblems = {
    {{2, 3, 5, 7}, {4, 3, 3, 3}, ConvOptions::same(3)},
    {{1, 17, 9, 9}, {63, 17, 1, 1}, {}},
    {{2, 8, 17, 63}, {7, 8, 3, 3}, {{2, 2}, {1, 1}, {1, 1}, 1}},
    {{1, 70, 8, 8}, {5, 70, 3, 3}, ConvOptions::same(3)},  // deeper than a block of the depth
    {{1, 2, 3, 4}, {1, 2, 7, 7}, ConvOptions::same(7)},    // smaller than its kernel
    {{2, 6, 11, 13}, {4, 3, 3, 2}, {{2, 3}, {1, 2}, {2, 3}, 2}},
    {{1, 3, 1, 1}, {2, 3, 1, 1}, {}},
    {{1, 4, 20, 20}, {4, 4, 3, 3}, ConvOptions::same(3, 1, 1, 12)},  // taps that see only padding
    // One channel per group.
    {{2, 5, 9, 70}, {5, 1, 3, 3}, ConvOptions::same(3, 5)},
    {{1, 3, 17, 33}, {6, 1, 5, 5}, {{2, 2}, {2, 2}, {1, 1}, 3}},
    {{2, 3, 8, 9}, {3, 1, 4, 3}, {{3, 2}, {2, 1}, {1, 2}, 3}},
    {{1, 1, 3, 130}, {1, 1, 1, 7}, {{1, 1}, {0, 3}, {1, 1}, 1}},
};

}  // namespace

TEMPLATE_TEST_CASE("conv_2d is a sum over taps and channels", "", float, double) {
  using T = TestType;
  for (const Problem& p : kProblems) {
    CAPTURE(heed::shape_text(p.x), heed::shape_text(p.weight));
    const auto x = random_tensor<T, 4>(p.x, 1);
    const auto weight = random_tensor<T, 4>(p.weight, 2);
    for (const bool biased : {false, true}) {
      const auto bias = random_tensor<T, 1>({biased ? p.weight[0] : 0}, 3);
      const Tensor<T, 4> out = heed::conv_2d(x, weight, bias, p.options);
      const auto want = naive(x, weight, bias, p.options, out.dimension(2), out.dimension(3));
      CHECK(error_of(out, want) < (std::same_as<T, float> ? 2e-6 : 1e-14));
    }
  }
}

TEST_CASE("conv_2d of strides, storage, batches and threads") {
  for (const Index depth : {4, 1}) {
    CAPTURE(depth);
    const auto weight = random_tensor<float, 4>({4, depth, 3, 3}, 2);
    const auto bias = random_tensor<float, 1>({4}, 3);
    const auto options = ConvOptions::same(3, 4 / depth);
    const auto x = random_tensor<float, 4>({3, 4, 12, 21}, 1);
    const Tensor<float, 4> out = heed::conv_2d(x, weight, bias, options);
    SECTION("a map of channels last, into a part of a larger tensor") {
      Tensor<float, 4> last(3, 12, 21, 4);
      const auto turned = heed::view(last).permute({0, 3, 1, 2});
      heed::kernel::copy<heed::kernel::Write::kAssign>(Eigen::DefaultDevice(), heed::view(x), turned);
      Tensor<float, 4> wide(3, 4, 12, 25);
      wide.setConstant(float(kNaN));
      heed::conv_2d(Eigen::DefaultDevice(), turned, weight, bias, options, heed::view(wide).slice(3, 2, 21));
      CHECK(error_of(heed::view(wide).slice(3, 2, 21), out) == 0);
      CHECK(std::isnan(wide(0, 0, 0, 1)));
      CHECK(std::isnan(wide(2, 3, 11, 23)));
    }
    SECTION("an image alone has the bits that it has in a batch") {
      CHECK(error_of(heed::conv_2d(heed::view(x).slice(0, 1, 1), weight, bias, options),
                     heed::view(out).slice(0, 1, 1)) == 0);
    }
    SECTION("threads") {
      for (const int threads : {2, 3}) {
        Eigen::ThreadPool pool(threads);
        CHECK(error_of(heed::conv_2d(Eigen::ThreadPoolDevice(&pool, threads), x, weight, bias, options), out) == 0);
      }
    }
    SECTION("half") {
      const Tensor<heed::half, 4> narrow = x.cast<heed::half>();
      const Tensor<float, 4> rounded = narrow.cast<float>();
      const Tensor<heed::half, 4> got = heed::conv_2d(narrow, weight, bias, options);
      const Tensor<heed::half, 4> want = heed::conv_2d(rounded, weight, bias, options).cast<heed::half>();
      CHECK(error_of(got, want) == 0);
    }
  }
}

TEMPLATE_TEST_CASE("conv_2d: channel by channel, channels last give the bits of channels first", "", float, double) {
  using T = TestType;
  for (const Index channels : {8, 17, 48})
    for (const auto& [kh, kw, stride, dilation] : {std::array<Index, 4>{3, 3, 1, 1},
                                                   {5, 5, 1, 1},
                                                   {7, 7, 1, 3},
                                                   {3, 3, 2, 1},
                                                   {1, 11, 1, 2},
                                                   {11, 1, 1, 2},
                                                   {4, 3, 3, 2}}) {
      CAPTURE(channels, kh, kw, stride, dilation);
      const auto last = random_tensor<T, 4>({2, 6, 19, channels}, 1);
      const auto map = heed::view(last).permute({0, 3, 1, 2});
      const auto weight = random_tensor<T, 4>({channels, 1, kh, kw}, 2);
      const auto bias = random_tensor<T, 1>({kh == 5 ? 0 : channels}, 3);
      const ConvOptions options{
          {stride, stride}, {dilation * (kh / 2), dilation * (kw / 2)}, {dilation, dilation}, channels};
      Tensor<T, 4> first(2, channels, 6, 19);
      heed::kernel::copy<heed::kernel::Write::kAssign>(Eigen::DefaultDevice(), map, heed::view(first));
      const Tensor<T, 4> want = heed::conv_2d(first, weight, bias, options);
      Tensor<T, 4> out(2, want.dimension(2), want.dimension(3), channels);
      out.setConstant(T(kNaN));
      Eigen::ThreadPool pool(2);
      heed::conv_2d(Eigen::ThreadPoolDevice(&pool, 2), map, weight, bias, options,
                    heed::view(out).permute({0, 3, 1, 2}));
      CHECK(error_of(heed::view(out).permute({0, 3, 1, 2}), want) == 0);
    }
}

TEST_CASE("conv_2d over no images is empty, and refuses what does not fit") {
  const Conv2d<float> layer{random_tensor<float, 4>({4, 3, 3, 3}, 1), {}, {}};
  CHECK(layer(Tensor<float, 4>(0, 3, 5, 5)).size() == 0);
  CHECK_THROWS_WITH(layer(Tensor<float, 4>(1, 2, 5, 5)),
                    "conv_2d: weight must have shape (Co, Ci / groups, kh, kw) with Ci = 2 and groups = 1 dividing Co, "
                    "got (4, 3, 3, 3)");
  CHECK_THROWS_WITH(layer(Tensor<float, 4>(1, 3, 5, 2)),
                    "conv_2d: a kernel that spans 3 positions does not fit on 2 with a padding of 0");
  CHECK_THROWS_AS(layer(Tensor<float, 4>(1, 3, 0, 5)), heed::Error);
  auto wrong = layer;
  wrong.options.stride[1] = 0;
  CHECK_THROWS_AS(wrong(Tensor<float, 4>(1, 3, 5, 5)), heed::Error);
  wrong = layer;
  wrong.bias.resize(3);
  CHECK_THROWS_WITH(wrong(Tensor<float, 4>(1, 3, 5, 5)), "conv_2d: bias must be empty or have shape (4), got (3)");
}
