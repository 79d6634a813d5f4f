// SPDX-License-Identifier: Apache-2.0
// mm_dit_block: joint attention and a network for each of two streams, modulated by a condition.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/residual.hpp"
#include "heed/cross/joint_attention.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// x (1 + scale) + shift.
struct Modulation {
  static constexpr std::string_view kName = "modulate";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x, simd::Batch<T> scale, simd::Batch<T> shift) const {
    return simd::fma(x, scale, x) + shift;
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> x, simd::Batch<T> scale, simd::Batch<T>) const {
    if constexpr (Operand == 0) {
      return simd::fma(d, scale, d);
    } else if constexpr (Operand == 1) {
      return d * x;
    } else {
      return d;
    }
  }
};

}  // namespace detail

/// For each of the streams s: h = norm(s) (1 + scale1) + shift1; o = joint attention of both h; s' = s + gate1
/// s.out(o); s_out = s' + gate2 mlp(norm(s') (1 + scale2) + shift2), where norm has neither weight nor bias, mlp =
/// fc2(gelu_tanh( fc1)) and (shift1, scale1, gate1, shift2, scale2, gate2) = s.mod(silu(cond)), the same for all tokens
/// of an item.
///
///   heed::MmDitBlock<float> block{{.num_heads = 24, .qk_norm = heed::QueryKeyNorm::kRms}};
///   auto [context_out, x_out] = block(context, x, cond);    // or block(device, context, x, cond)
///
/// context (B, Nc, C), x (B, Nx, C), cond (B, C), outputs in the streams' shapes; parameters, options and errors of
/// JointAttention; s.mod: C to 6 C; s.mlp.fc1: C to F, s.mlp.fc2: F to C. With pre_only, context.mod is C to 2 C, the
/// context has no mlp and no out, and context_out is empty. eps is 1e-6. Cost of the attention and of the networks. The
/// same bits for any number of threads. Source: Esser et al. 2024 (Stable Diffusion 3), figure 2.
template <Real T>
struct MmDitBlock {
  using Options = typename JointAttention<T>::Options;

  /// What a stream has beside its projections.
  struct Part {
    Linear<T> mod = {};
    Mlp<T> mlp = {};
  };

  JointAttention<T> attention = {};
  Part context = {}, x = {};

  MmDitBlock() = default;
  explicit MmDitBlock(const Options& options) : attention{options} {}

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "", attention, "context.mod.", context.mod);
    visit_part("context.mlp.", context.mlp, f, heed::optional);
    visit_parts(f, "x.mod.", x.mod, "x.mlp.", x.mlp);
  }

  template <Operand Z, Operand X, Operand C>
  auto operator()(const Z& context_tokens, const X& x_tokens, const C& cond) const {
    return (*this)(DeviceRef(), context_tokens, x_tokens, cond);
  }
  template <Device D, Operand Z, Operand X, Operand C>
  auto operator()(const D& device, const Z& context_tokens, const X& x_tokens, const C& cond) const {
    static_assert(kOperandRank<Z> == 3 && kOperandRank<X> == 3 && kOperandRank<C> == 2,
                  "heed::MmDitBlock: context and x are (B, N, C), cond (B, C)");
    const Index channels = sizes_of(x_tokens)[2];
    const bool pre_only = attention.options.pre_only;
    check_linear(kName, "x.mod", x.mod, channels, 6 * channels);
    check_linear(kName, "context.mod", context.mod, channels, (pre_only ? 2 : 6) * channels);
    require_shape(kName, "cond", sizes_of(cond), std::array<Index, 2>{sizes_of(x_tokens)[0], channels});
    const auto active = silu(device, cond);
    const auto of_context = context.mod(device, active);
    const auto of_x = x.mod(device, active);
    const auto context_in = modulated(device, context_tokens, of_context, 0);
    const auto x_in = modulated(device, x_tokens, of_x, 0);
    auto joint = attention(device, context_in, x_in);
    auto x_out = finished(device, x_tokens, joint.x_out, of_x, x.mlp);
    decltype(x_out) context_out;
    if (!pre_only) context_out = finished(device, context_tokens, joint.context_out, of_context, context.mlp);
    return JointResult<decltype(context_out), decltype(x_out)>{std::move(context_out), std::move(x_out)};
  }

 private:
  static constexpr std::string_view kName = "mm_dit_block";

  // Number i of the vectors of a modulation (B, n C), as (B, 1, C).
  template <Operand M>
  static auto vector_of(const M& modulation, Index channels, Index i) {
    return view(modulation).slice(1, i * channels, channels).split(0, 1);
  }

  template <class D, Operand X, Operand M>
  static auto modulated(const D& device, const X& tokens, const M& modulation, Index first) {
    const Index channels = sizes_of(tokens)[2];
    const View<const T, 1> none;
    const auto normed = layer_norm(device, tokens, none, none, 1e-6);
    return pointwise(detail::Modulation(), device, normed, vector_of(modulation, channels, first + 1),
                     vector_of(modulation, channels, first));
  }

  template <class D, Operand X, Operand Y, Operand M>
  static auto finished(const D& device, const X& tokens, const Y& attended, const M& modulation, const Mlp<T>& mlp) {
    const Index channels = sizes_of(tokens)[2];
    const auto residual = add_product(device, tokens, vector_of(modulation, channels, 2), attended);
    const auto inner = mlp(device, GeluTanh(), modulated(device, residual, modulation, 3));
    return add_product(device, residual, vector_of(modulation, channels, 5), inner);
  }
};

}  // namespace heed::inline HEED_ISA
