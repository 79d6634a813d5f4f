// SPDX-License-Identifier: Apache-2.0
// Routed attention against the dense engine at N = 4096, the choice of keys included: `keys` is the share of the dense
// engine's pairs that are read, `times_dense` how many times faster that is. The bar: at a quarter of the keys or fewer,
// at least 2.
//   bench_sparse_routed --benchmark_filter='moba'
#include "against_dense.hpp"
#include "heed/attention/heads.hpp"
#include "heed/sparse.hpp"

namespace {

using heed::Index;
using heed::Tensor;

constexpr Index kTokens = 4096, kHeads = 4, kWidth = 64;
const Eigen::DefaultDevice kDevice;

template <int Rank>
Tensor<float, Rank> random(const std::array<Index, Rank>& sizes, unsigned seed) {
  Tensor<float, Rank> x(sizes);
  bench::fill_random(x, seed);
  return x;
}

// q, k and v as (B, H, N, D), and what the dense engine makes of them.
struct Inputs {
  Tensor<float, 4> q = random<4>({1, kHeads, kTokens, kWidth}, 1), k = random<4>({1, kHeads, kTokens, kWidth}, 2),
                   v = random<4>({1, kHeads, kTokens, kWidth}, 3), out = q;

  template <class Attention>
  auto dense(const Attention& attention) {
    return [this, attention] { attention(kDevice, q, k, v, heed::into(out)); };
  }
  auto by_token(const Tensor<float, 4>& x) const { return heed::view(x).permute({0, 2, 1, 3}); }
};

void moba(benchmark::State& state) {
  Inputs in;
  const Index blocks = state.range(0);
  const heed::MobaAttention op{{.block_size = 128, .top_k = blocks}};
  Tensor<std::int32_t, 1> ends(2);
  ends.setValues({0, kTokens});
  const auto flat = [](const auto& x) { return heed::view(x).select(0, 0).permute({1, 0, 2}); };
  double pairs = 0;
  for (Index t = 0; t < kTokens; ++t) pairs += double(t % 128 + 1 + std::min(blocks - 1, t / 128) * 128);
  bench::against_dense(
      state, pairs / (0.5 * kTokens * (kTokens + 1)),
      [&] { benchmark::DoNotOptimize(op(kDevice, flat(in.q), flat(in.k), flat(in.v), ends).data()); },
      in.dense(heed::softmax_attention(heed::causal())));
}
BENCHMARK(moba)->Arg(3)->Arg(4)->Unit(benchmark::kMillisecond);

void vmoba(benchmark::State& state) {
  Inputs in;
  const heed::VmobaAttention op{{.patch_resolution = {16, 16, 16},
                                 .block_size = {4, 4, 4},
                                 .select_mode = heed::BlockSelect::kTopK,
                                 .select_scope = heed::BlockScope(state.range(0)),
                                 .top_k = 16}};
  bench::against_dense(
      state, 0.25,
      [&] { benchmark::DoNotOptimize(op(kDevice, in.by_token(in.q), in.by_token(in.k), in.by_token(in.v)).data()); },
      in.dense(heed::softmax_attention()));
}
BENCHMARK(vmoba)->Arg(0)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond);

void native_sparse(benchmark::State& state) {
  Inputs in;
  const Index size = 64, count = 4, window = 192;
  const heed::NativeSparseAttention op{{.block_size = size, .block_count = count, .window_size = window}};
  const auto gate = random<3>({1, kTokens, kHeads}, 4);
  double pairs = 0;
  for (Index t = 0; t < kTokens; ++t)
    pairs += double((t + 1) / size + std::min(count - 1, t / size) * size + t % size + 1 + std::min(window, t + 1));
  bench::against_dense(
      state, pairs / (0.5 * kTokens * (kTokens + 1)),
      [&] {
        benchmark::DoNotOptimize(
            op(kDevice, in.by_token(in.q), in.by_token(in.k), in.by_token(in.v), gate, gate, gate).out.data());
      },
      in.dense(heed::softmax_attention(heed::causal())));
}
BENCHMARK(native_sparse)->Unit(benchmark::kMillisecond);

// With its projections and convolution, against full attention with the same.
void bi_level(benchmark::State& state) {
  const Index channels = kHeads * kWidth;
  const auto x = random<4>({1, 64, 64, channels}, 1);
  heed::BiLevelRoutingAttention<float> op{{.num_heads = kHeads, .n_win = 8, .top_k = state.range(0)}};
  heed::AttentionLepe<float> dense{{.num_heads = kHeads, .lepe_on = heed::LepeOn::kValue}};
  op.qkv = dense.qkv = {random<2>({3 * channels, channels}, 2), {}};
  op.out = dense.out = {random<2>({channels, channels}, 3), {}};
  op.lepe.weight = dense.lepe.weight = random<4>({channels, 1, 3, 3}, 4);
  bench::against_dense(
      state, double(state.range(0)) / 64, [&] { benchmark::DoNotOptimize(op(kDevice, x).out.data()); },
      [&] { benchmark::DoNotOptimize(dense(kDevice, x).data()); });
}
BENCHMARK(bi_level)->Arg(8)->Arg(16)->Unit(benchmark::kMillisecond);

void routing(benchmark::State& state) {
  Inputs in;
  heed::RoutingAttention<float> op{{.window_size = 256, .causal = false}};
  op.centroids = random<3>({kHeads, 16, kWidth}, 4);
  bench::against_dense(
      state, 16.0 * 256 * 256 / (double(kTokens) * kTokens),
      [&] { benchmark::DoNotOptimize(op(kDevice, in.q, in.v).out.data()); },
      in.dense(heed::softmax_attention()));
}
BENCHMARK(routing)->Unit(benchmark::kMillisecond);

void kmeans_routing(benchmark::State& state) {
  Inputs in;
  heed::KmeansRoutingAttention<float> op{{.window_size = 256}};
  op.centroids = random<3>({kHeads, 16, kWidth}, 4);
  bench::against_dense(
      state, 16.0 * 256 * 256 / (double(kTokens) * kTokens),
      [&] { benchmark::DoNotOptimize(op(kDevice, in.q, in.k, in.v).out.data()); },
      in.dense(heed::softmax_attention()));
}
BENCHMARK(kmeans_routing)->Unit(benchmark::kMillisecond);

void lsh(benchmark::State& state) {
  const Index rounds = state.range(0), size = 64;
  Inputs in;
  const heed::LshAttention op{{.bucket_size = size}};
  const auto rotations = random<3>({kWidth, rounds, kTokens / size / 2}, 4);
  const auto heads = [](const Tensor<float, 4>& x) { return heed::view(x).select(0, 0); };  // as batches
  bench::against_dense(
      state, double(rounds * 2 * size) / kTokens,
      [&] { benchmark::DoNotOptimize(op(kDevice, heads(in.q), heads(in.v), rotations).out.data()); },
      in.dense(heed::softmax_attention()));
}
BENCHMARK(lsh)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);

void dynamic_mask(benchmark::State& state) {
  Inputs in;
  const Index size = state.range(0);
  const auto bias = random<4>({1, kHeads, 1, kTokens}, 4);
  const heed::DynamicMaskAttention op{{.window_size = size, .causal = true}};
  double pairs = 0;
  for (Index t = 0; t < kTokens; ++t) pairs += double(std::min(size, t + 1));
  bench::against_dense(
      state, pairs / (0.5 * kTokens * (kTokens + 1)),
      [&] { benchmark::DoNotOptimize(op(kDevice, in.q, in.k, in.v, bias).data()); },
      in.dense(heed::softmax_attention(heed::bias(bias), heed::causal())));
}
BENCHMARK(dynamic_mask)->Arg(128)->Arg(512)->Unit(benchmark::kMillisecond);

void topk(benchmark::State& state) {
  Inputs in;
  const heed::TopkAttention op{{.top_k = state.range(0)}};
  bench::against_dense(
      state, double(state.range(0)) / kTokens, [&] { benchmark::DoNotOptimize(op(kDevice, in.q, in.k, in.v).data()); },
      in.dense(heed::softmax_attention()));
}
BENCHMARK(topk)->Arg(32)->Arg(256)->Unit(benchmark::kMillisecond);

}  // namespace
