// SPDX-License-Identifier: Apache-2.0
// joint_attention: two streams with their own projections, and one attention over both.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/linear_concat.hpp"
#include "heed/cross/query_key_norm.hpp"

namespace heed::inline HEED_ISA {

/// The projections of one stream.
template <Real T>
struct JointStream {
  Linear<T> q = {}, k = {}, v = {}, out = {};
  LayerNorm<T> q_norm = {}, k_norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v);
    visit_part("out.", out, f, heed::optional);
    visit_parts(f, "q_norm.", q_norm, "k_norm.", k_norm);
  }
};

/// Tokens of both streams, tensors or variables.
template <class Context, class X>
struct JointResult {
  Context context_out;  ///< empty where the context is only read
  X x_out;
};

namespace detail {

/// One layer of each stream, heads normalised, as one sequence (B, Nc + Nx, C), the context first.
template <Device D, Real T, Operand Z, Operand X>
auto joint_tokens(const D& device, QueryKeyNorm norm, Index heads, const Linear<T>& context_layer,
                  const LayerNorm<T>& context_norm, const Z& context, const Linear<T>& x_layer,
                  const LayerNorm<T>& x_norm, const X& x) {
  if (norm == QueryKeyNorm::kNone) return linear_concat(device, context_layer, context, x_layer, x);
  constexpr double kEps = 1e-6;
  const Index first = sizes_of(context)[1], second = sizes_of(x)[1];
  const auto projected = linear_concat(device, context_layer, context, x_layer, x);
  auto joint = make_output<OperandScalar<Z>, 3>("joint_attention", sizes_of(projected), context, x);
  normalize_heads(device, norm, view(projected).slice(1, 0, first), heads, context_norm, kEps,
                  view(joint).slice(1, 0, first));
  normalize_heads(device, norm, view(projected).slice(1, first, second), heads, x_norm, kEps,
                  view(joint).slice(1, first, second));
  return joint;
}

}  // namespace detail

/// context_out = context.out(o of its rows) and x_out = x.out(o of its rows), o = join(softmax(q k^T / sqrt(D)) v) over
/// the tokens of both streams, the context first, each with its own projections.
///
///   heed::JointAttention<float> attend{{.num_heads = 24, .qk_norm = heed::QueryKeyNorm::kRms}};
///   auto [context_out, x_out] = attend(context, x);         // or attend(device, context, x)
///
/// context (B, Nc, C), x (B, Nx, C), outputs in the same shapes; q, k, v, out of each stream: C to C, biases optional,
/// D = C / num_heads; q_norm and k_norm (D), shared by the heads: weights for kRms, with biases for kLayer, eps 1e-6.
/// With pre_only the context is read and dropped: its queries are not formed and context_out is empty. Every projection
/// is written where the attention reads it. Throws heed::Error for shapes that do not fit. Time of the projections and
/// of softmax_attention over Nc + Nx tokens. The same bits for any number of threads.
/// Source: Esser et al. 2024 (Stable Diffusion 3), figure 2.
template <Real T>
struct JointAttention {
  struct Options {
    Index num_heads = 1;
    QueryKeyNorm qk_norm = QueryKeyNorm::kNone;  ///< not kL2
    bool pre_only = false;
  };

  Options options = {};
  JointStream<T> context = {}, x = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "context.", context, "x.", x);
  }

  template <Operand Z, Operand X>
  auto operator()(const Z& context_tokens, const X& x_tokens) const {
    return (*this)(DeviceRef(), context_tokens, x_tokens);
  }
  template <Device D, Operand Z, Operand X>
  auto operator()(const D& device, const Z& context_tokens, const X& x_tokens) const {
    static_assert(kOperandRank<Z> == 3 && kOperandRank<X> == 3, "heed::JointAttention: context and x are (B, N, C)");
    check(sizes_of(context_tokens), sizes_of(x_tokens));
    const Index heads = options.num_heads, first = sizes_of(context_tokens)[1], second = sizes_of(x_tokens)[1];
    const auto joint = [&](const Linear<T> JointStream<T>::*layer, const LayerNorm<T> JointStream<T>::*norm,
                           QueryKeyNorm kind, const auto& z) {
      return detail::joint_tokens(device, kind, heads, context.*layer, context.*norm, z, x.*layer, x.*norm, x_tokens);
    };
    using Stream = JointStream<T>;
    const auto keys = joint(&Stream::k, &Stream::k_norm, options.qk_norm, context_tokens);
    const auto values = joint(&Stream::v, &Stream::k_norm, QueryKeyNorm::kNone, context_tokens);
    // What is dropped asks nothing.
    const Index asking = options.pre_only ? 0 : first;
    const auto queries = joint(&Stream::q, &Stream::q_norm, options.qk_norm, view(context_tokens).slice(1, 0, asking));
    const auto mixed = attend_heads(device, softmax_attention(), heads, queries, keys, values);
    auto x_out = x.out(device, view(mixed).slice(1, asking, second));
    decltype(x_out) context_out;
    if (!options.pre_only) context_out = context.out(device, view(mixed).slice(1, 0, first));
    return JointResult<decltype(context_out), decltype(x_out)>{std::move(context_out), std::move(x_out)};
  }

 private:
  static constexpr std::string_view kName = "joint_attention";

  void check(const std::array<Index, 3>& z, const std::array<Index, 3>& y) const {
    const Index heads = options.num_heads, channels = y[2];
    require(z[0] == y[0] && z[2] == channels, kName, "context must have shape (B, Nc, C) with B = ", y[0],
            " and C = ", channels, ", those of x, got ", shape_text(z));
    require(heads > 0 && channels > 0 && channels % heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", heads);
    require(options.qk_norm != QueryKeyNorm::kL2, kName, "qk_norm must be kNone, kRms or kLayer");
    for (const auto* stream : {&context, &x}) {
      const std::string prefix = stream == &x ? "x." : "context.";
      check_linears(kName, channels, channels, prefix + "q", stream->q, prefix + "k", stream->k, prefix + "v",
                    stream->v);
      if (stream == &x || !options.pre_only) check_linear(kName, prefix + "out", stream->out, channels, channels);
    }
  }
};

}  // namespace heed::inline HEED_ISA
