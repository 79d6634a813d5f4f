// SPDX-License-Identifier: Apache-2.0
// attentional_projection: an attention that changes the width of the channels.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/activation.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/resample.hpp"

namespace heed::inline HEED_ISA {

/// From a to b channels: z = proj(norm3(x)) + out(o) and out = z + mlp.fc3(GELU(mlp.fc1(u)) * mlp.fc2(u)) with u =
/// mlp_norm(norm2(z)) and the tanh GELU. o is what H heads of w / H channels attend, w = max(a, b), of norm1(x): joined
/// where a <= b; else the mean over the heads, averaged to b channels where it has more.
///
///   heed::AttentionalProjection<float> project{{.num_heads = 8}};
///   auto y = project(x);                                    // or project(device, x)
///
/// x (B, N, a), out (B, N, b); q, k, v a to w, out b to b, proj a to b, biases optional; norm1, norm3 (a), norm2,
/// mlp_norm (b), the last with eps 1e-6; mlp.fc1, mlp.fc2 b to F, mlp.fc3 F to b. Channel o of b averages floor(o n /
/// b) up to, not including, ceil((o + 1) n / b) of n. Throws heed::Error for shapes and options that do not fit. Time
/// O(N^2 w). The same bits for any number of threads. Source: Song et al. 2025 (DualToken), the authors'
/// AttnProjection.
template <Real T>
struct AttentionalProjection {
  struct Options {
    Index num_heads = 1;
    bool causal = false;
  };
  struct GatedMlp {
    Linear<T> fc1 = {}, fc2 = {}, fc3 = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "fc1.", fc1, "fc2.", fc2, "fc3.", fc3);
    }
    template <class D, Operand X>
    auto operator()(const D& device, const X& x) const {
      return fc3(device, multiply(device, gelu_tanh(device, fc1(device, x)), fc2(device, x)));
    }
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {}, proj = {};
  LayerNorm<T> norm1 = {}, norm2 = {}, norm3 = {};
  LayerNorm<T> mlp_norm = {.eps = 1e-6};
  GatedMlp mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out, "proj.", proj, "norm1.", norm1, "norm2.", norm2);
    visit_parts(f, "norm3.", norm3, "mlp_norm.", mlp_norm, "mlp.", mlp);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::AttentionalProjection: x is (B, N, a)");
    const Index from = sizes_of(x)[2], to = proj.weight.dimension(0);
    check(from, to);
    const auto normal = norm1(device, x);
    const auto queries = q(device, normal), keys = k(device, normal), values = v(device, normal);
    const auto mixed = attend_heads(device, softmax_attention(when(options.causal, causal())), options.num_heads,
                                    queries, keys, values);
    const auto skip = proj(device, norm3(device, x));
    const auto z = add(device, skip, from > to ? out(device, narrow(device, mixed, to)) : out(device, mixed));
    return add(device, z, mlp(device, mlp_norm(device, norm2(device, z))));
  }

 private:
  static constexpr std::string_view kName = "attentional_projection";

  // The mean over the heads, averaged to `width` channels.
  template <class D, class X>
  auto narrow(const D& device, const X& mixed, Index width) const {
    const auto one = mean(device, split_heads(mixed, options.num_heads), {1});
    return contiguous(device, view(adaptive_average_pool(device, one, {sizes_of(one)[2], width})).select(1, 0));
  }

  void check(Index from, Index to) const {
    const Index width = std::max(from, to), heads = options.num_heads;
    require(heads > 0 && width % heads == 0, kName, "num_heads = ", heads, " must divide max(a, b) = ", width);
    check_linears(kName, from, width, "q", q, "k", k, "v", v);
    check_linear(kName, "proj", proj, from, to);
    check_linear(kName, "out", out, to, to);
    const Index inner = mlp.fc1.weight.dimension(0);
    check_linear(kName, "mlp.fc1", mlp.fc1, to, inner);
    check_linear(kName, "mlp.fc2", mlp.fc2, to, inner);
    check_linear(kName, "mlp.fc3", mlp.fc3, inner, to);
  }
};

}  // namespace heed::inline HEED_ISA
