// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/moh_aggregated_attention.hpp"

#include "catch.hpp"
#include "support/self_attention.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

namespace {

constexpr Index kHeads = 2, kWidth = 3, kChannels = 6;

MohAggregatedAttention<double> layer(const MohAggregatedAttention<double>::Options& options) {
  MohAggregatedAttention<double> attend{options};
  const Index near = options.window_size * options.window_size;
  attend.q = random_linear<double>(kChannels, kChannels, true, 1);
  attend.kv = random_linear<double>(2 * kChannels, kChannels, true, 2);
  attend.pool_proj = random_linear<double>(kChannels, kChannels, true, 3);
  attend.out = random_linear<double>(kChannels, kChannels, true, 4);
  attend.pool_norm = {random_tensor<double, 1>({kChannels}, 5), random_tensor<double, 1>({kChannels}, 6)};
  attend.query_embedding = random_tensor<double, 3>({kHeads, 1, kWidth}, 7);
  attend.temperature = random_tensor<double, 3>({kHeads, 1, 1}, 8);
  attend.local_bias_table = random_tensor<double, 2>({kHeads, near}, 9);
  attend.local_tokens = random_tensor<double, 3>({kHeads, kWidth, near}, 10);
  attend.local_tokens_bias = random_tensor<double, 3>({kHeads, 1, near}, 11);
  attend.cpb = {random_linear<double>(4, 2, true, 12), random_linear<double>(kHeads, 4, true, 13)};
  attend.gates.router = random_tensor<double, 2>({kHeads, kChannels}, 14);
  return attend;
}

struct Row {
  double at[kWidth];
  double dot(const Row& other) const {
    double sum = 0;
    for (Index d = 0; d < kWidth; ++d) sum += at[d] * other.at[d];
    return sum;
  }
  Row unit() const {
    Row r = *this;
    const double length = std::sqrt(dot(*this));
    for (double& value : r.at) value /= length;
    return r;
  }
};
Row row(const Tensor<double, 3>& x, Index b, Index n, Index first) {
  Row r;
  for (Index d = 0; d < kWidth; ++d) r.at[d] = x(b, n, first + d);
  return r;
}

// The pooled tokens, by their definition.
Tensor<double, 3> pooled(const MohAggregatedAttention<double>& attend, const Tensor<double, 3>& x, Index ph, Index pw) {
  const auto [h, w] = attend.options.input_resolution;
  const auto features = apply(attend.pool_proj, x);
  Tensor<double, 3> z(x.dimension(0), ph * pw, kChannels);
  for (Index b = 0; b < x.dimension(0); ++b)
    for (Index m = 0; m < ph * pw; ++m) {
      const Index r0 = m / pw * h / ph, r1 = ((m / pw + 1) * h + ph - 1) / ph;
      const Index c0 = m % pw * w / pw, c1 = ((m % pw + 1) * w + pw - 1) / pw;
      double mean = 0, square = 0;
      for (Index c = 0; c < kChannels; ++c) {
        double sum = 0;
        for (Index i = r0; i < r1; ++i)
          for (Index j = c0; j < c1; ++j) {
            const double f = features(b, i * w + j, c);
            sum += f * 0.5 * std::erfc(-f / std::sqrt(2.0));
          }
        z(b, m, c) = sum / double((r1 - r0) * (c1 - c0));
        mean += z(b, m, c) / kChannels;
      }
      for (Index c = 0; c < kChannels; ++c) square += (z(b, m, c) - mean) * (z(b, m, c) - mean) / kChannels;
      for (Index c = 0; c < kChannels; ++c)
        z(b, m, c) =
            (z(b, m, c) - mean) / std::sqrt(square + 1e-5) * attend.pool_norm.weight(c) + attend.pool_norm.bias(c);
    }
  return z;
}

Tensor<double, 3> naive(const MohAggregatedAttention<double>& attend, const Tensor<double, 3>& x,
                        const Tensor<std::int32_t, 1>& index, const Tensor<double, 2>& table, Index ph, Index pw) {
  const auto [h, w] = attend.options.input_resolution;
  const Index side = attend.options.window_size, reach = side / 2, cells = ph * pw, batch = x.dimension(0);
  const auto q = apply(attend.q, x), kv = apply(attend.kv, x), far = apply(attend.kv, pooled(attend, x, ph, pw));
  const auto gates = attend.gates("test", {kHeads, 0, attend.options.routed_heads}, DeviceRef(), x).gates;
  Tensor<double, 3> mixed(batch, h * w, kChannels);
  for (Index b = 0; b < batch; ++b)
    for (Index n = 0; n < h * w; ++n)
      for (Index g = 0; g < kHeads; ++g) {
        const Row u = row(q, b, n, g * kWidth).unit();
        std::vector<double> score, extra;
        std::vector<Row> value;
        for (Index l = 0; l < side * side; ++l) {
          const Index i = n / w + l / side - reach, j = n % w + l % side - reach;
          if (i < 0 || i >= h || j < 0 || j >= w) continue;
          value.push_back(row(kv, b, i * w + j, kChannels + g * kWidth));
          double learned = attend.local_tokens_bias(g, 0, l);
          for (Index d = 0; d < kWidth; ++d) learned += u.at[d] * attend.local_tokens(g, d, l);
          extra.push_back(learned);
        }
        const Index valid = Index(value.size());
        Row qs = u;
        for (Index d = 0; d < kWidth; ++d)
          qs.at[d] = (u.at[d] + attend.query_embedding(g, 0, d)) * std::log1p(std::exp(attend.temperature(g, 0, 0))) *
                     std::log(double(valid + cells));
        for (Index l = 0; l < side * side; ++l) {
          const Index i = n / w + l / side - reach, j = n % w + l % side - reach;
          if (i < 0 || i >= h || j < 0 || j >= w) continue;
          score.push_back(qs.dot(row(kv, b, i * w + j, g * kWidth).unit()) + attend.local_bias_table(g, l));
        }
        for (Index m = 0; m < cells; ++m) {
          const Index entry = index(n * cells + m);
          double bias = attend.cpb.fc2.bias(g);
          for (Index f = 0; f < 4; ++f) {
            double inner = attend.cpb.fc1.bias(f);
            for (Index c = 0; c < 2; ++c) inner += attend.cpb.fc1.weight(f, c) * table(entry, c);
            bias += attend.cpb.fc2.weight(g, f) * std::max(0.0, inner);
          }
          score.push_back(qs.dot(row(far, b, m, g * kWidth).unit()) + bias);
          value.push_back(row(far, b, m, kChannels + g * kWidth));
          extra.push_back(0);
        }
        double sum = 0;
        for (const double s : score) sum += std::exp(s);
        for (Index d = 0; d < kWidth; ++d) {
          double o = 0;
          for (std::size_t e = 0; e < score.size(); ++e) o += (std::exp(score[e]) / sum + extra[e]) * value[e].at[d];
          mixed(b, n, g * kWidth + d) = gates(b, n, g) * o;
        }
      }
  return apply(attend.out, mixed);
}

}  // namespace

TEST_CASE("moh_aggregated_attention: neighbours and cells under one softmax, and learned weights of the neighbours") {
  struct Shape {
    Index h, w, side, ratio, fixed, ph, pw;
  };
  for (const Shape& s :
       {Shape{5, 3, 3, 2, 0, 2, 1}, {4, 6, 5, 1, 0, 4, 6}, {3, 4, 1, 1, 2, 2, 2}, {1, 1, 3, 1, 0, 1, 1}}) {
    const auto attend = layer({.num_heads = kHeads,
                               .input_resolution = {s.h, s.w},
                               .window_size = s.side,
                               .sr_ratio = s.ratio,
                               .fixed_pool_size = s.fixed,
                               .routed_heads = 1});
    const auto x = random_tensor<double, 3>({2, s.h * s.w, kChannels}, 20);
    const auto table = random_tensor<double, 2>({5, 2}, 21);
    Tensor<std::int32_t, 1> index(s.h * s.w * s.ph * s.pw);
    for (Index i = 0; i < index.size(); ++i) index(i) = std::int32_t(i * 3 % 5);
    const auto got = attend(x, index, table).out;
    CHECK(error_of(got, naive(attend, x, index, table, s.ph, s.pw)) < 1e-12);
    check_threads([&](const DeviceRef& device) { return attend(device, x, index, table).out; });
    CHECK(attend(Tensor<double, 3>(0, s.h * s.w, kChannels), index, table).out.size() == 0);
  }
}

TEST_CASE("moh_aggregated_attention: errors") {
  const auto x = random_tensor<double, 3>({1, 6, kChannels}, 20);
  const auto table = random_tensor<double, 2>({5, 2}, 21);
  const Tensor<std::int32_t, 1> index(6);
  auto attend = layer({.num_heads = kHeads, .input_resolution = {2, 3}, .sr_ratio = 3});
  CHECK_THROWS_WITH(attend(x, index, table),
                    "moh_aggregated_attention: sr_ratio = 3 and fixed_pool_size = 0 leave no cell of a map of (2, 3)");
  attend.options.fixed_pool_size = 2;
  CHECK_THROWS_WITH(attend(x, index, table),
                    "moh_aggregated_attention: fixed_pool_size = 2 must be below the shorter side of (2, 3)");
  attend.options.window_size = 2;
  CHECK_THROWS_WITH(attend(x, index, table), "moh_aggregated_attention: window_size must be odd, got 2");
  attend.options.input_resolution = {2, 2};
  CHECK_THROWS_WITH(attend(x, index, table),
                    "moh_aggregated_attention: input_resolution (2, 2) must have N = 6 positions");
}
