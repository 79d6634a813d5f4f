// SPDX-License-Identifier: Apache-2.0
#include "heed/mixture_of_head/moh_attention.hpp"

#include "catch.hpp"
#include "heed/mixture_of_head/moh_llama_attention.hpp"
#include "heed/mixture_of_head/routed_head_attention.hpp"
#include "support/self_attention.hpp"
#include "support/threads.hpp"

using namespace heed;
using namespace heed::test;

TEST_CASE("moh_attention scales each head by its gate, and computes no other") {
  const Index tokens = 37;
  const auto x = random_tensor<float, 3>({2, tokens, 12}, 1);
  for (const auto& [shared, routed] : {std::pair<Index, Index>{0, 1}, {1, 2}, {2, 1}, {2, 9}, {4, 0}}) {
    MohAttention<float> attend{{.num_heads = 4, .head_dim = 5, .shared_heads = shared, .routed_heads = routed}};
    attend.qkv = random_linear<float>(60, 12, true, 2);
    attend.out = random_linear<float>(12, 20, true, 3);
    attend.gates = {random_tensor<float, 2>({4 - shared, 12}, 4), random_tensor<float, 2>({2, 12}, 5),
                    random_tensor<float, 2>({shared, 12}, 6)};
    const auto gates = attend.gates("test", {4, shared, routed}, DeviceRef(), x).gates;
    const auto qkv = apply(attend.qkv, x);
    const auto part = [&](Index i) {
      return heads_of(
          Tensor<double, 3>(qkv.slice(Eigen::array<Index, 3>{0, 0, i * 20}, Eigen::array<Index, 3>{2, tokens, 20})), 4);
    };
    const auto heads = NaiveAttention()(part(0), part(1), part(2)).out;
    Tensor<double, 3> mixed(2, tokens, 20);
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < tokens; ++n) {
        Index used = 0;
        for (Index h = 0; h < 4; ++h) used += gates(b, n, h) != 0;
        CHECK(used == shared + std::min(routed, 4 - shared));
        for (Index c = 0; c < 20; ++c) mixed(b, n, c) = double(gates(b, n, c / 5)) * heads(b, c / 5, n, c % 5);
      }
    const auto [out, loss] = attend(x);
    CHECK(error_of(out, apply(attend.out, mixed)) < 3e-6);
    check_threads([&](const heed::DeviceRef& device) { return attend(device, x).out; });
    CHECK(loss.size() == (routed > 0 && shared < 4 ? 1 : 0));
  }
  MohAttention<float> attend{{.num_heads = 4, .shared_heads = 2, .routed_heads = 0}};
  attend.qkv = random_linear<float>(36, 12, true, 2);
  attend.out = random_linear<float>(12, 12, true, 3);
  CHECK_THROWS_AS(attend(x), Error);
}

TEST_CASE("moh_llama_attention and routed_head_attention of all heads") {
  const Index tokens = 29;
  const auto x = random_tensor<float, 3>({1, tokens, 8}, 1);
  MohLlamaAttention<float> some{{.num_heads = 4, .num_kv_heads = 2, .shared_heads = 4, .routed_heads = 0}};
  some.q = random_linear<float>(8, 8, false, 2);
  some.k = random_linear<float>(4, 8, false, 3);
  some.v = random_linear<float>(4, 8, false, 4);
  some.out = random_linear<float>(8, 8, false, 5);
  auto all = some;
  all.options.shared_heads = 1;
  all.options.routed_heads = 9;
  CHECK(error_of(all(x), some(x)) == 0);
  all.options.routed_heads = 1;
  CHECK(error_of(all(x), some(x)) > 1e-3);
  check_threads([&](const heed::DeviceRef& device) { return all(device, x); });

  RoutedHeadAttention<float> routed{{.num_heads = 2, .head_dim = 4, .causal = true, .routing = {.top_k = 2}}};
  routed.q = random_linear<float>(8, 8, false, 2);
  routed.k = random_linear<float>(8, 8, false, 3);
  routed.v = random_linear<float>(8, 8, false, 4);
  routed.out = random_linear<float>(8, 8, false, 5);
  routed.router = random_tensor<float, 2>({2, 8}, 6, 0);  // even: gates of one half
  NaiveAttention naive;
  naive.visible = [](Index, Index, Index i, Index j) { return j <= i; };
  const auto heads =
      naive(heads_of(apply(routed.q, x), 2), heads_of(apply(routed.k, x), 2), heads_of(apply(routed.v, x), 2)).out;
  Tensor<double, 3> mixed(1, tokens, 8);
  for (Index n = 0; n < tokens; ++n)
    for (Index c = 0; c < 8; ++c) mixed(0, n, c) = 0.5 * heads(0, c / 4, n, c % 4);
  CHECK(error_of(routed(x), apply(routed.out, mixed)) < 3e-6);
  check_threads([&](const heed::DeviceRef& device) { return routed(device, x); });
}
