// SPDX-License-Identifier: Apache-2.0
// class_semantics_attention: features of a video gated along channels and time by class-rich ones.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// The larger of f * a and f * b; a tie splits the gradient.
struct LargerGate {
  static constexpr std::string_view kName = "class_semantics_attention";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> f, simd::Batch<T> a, simd::Batch<T> b) const {
    return simd::select(f * b > f * a, f * b, f * a);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> f, simd::Batch<T> a, simd::Batch<T> b) const {
    using Batch = simd::Batch<T>;
    const Batch one(T(1)), u = f * a, v = f * b;
    const Batch first = simd::select(u > v, one, simd::select(v > u, Batch(T(0)), Batch(T(0.5))));
    if constexpr (Operand == 0) return d * simd::fma(first, a, (one - first) * b);
    return d * f * (Operand == 1 ? first : one - first);
  }
};

/// f * a + f * b
struct SumGate {
  static constexpr std::string_view kName = "class_semantics_attention";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> f, simd::Batch<T> a, simd::Batch<T> b) const {
    return f * (a + b);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> f, simd::Batch<T> a, simd::Batch<T> b) const {
    if constexpr (Operand == 0) return d * (a + b);
    return d * f;
  }
};

}  // namespace detail

/// out = u + v, f a_c a_t, max(u, v) or [u, v], of u = f * a_c and v = f * a_t: H = relu(conv1d(r; embed)), a_c =
/// sigmoid(linear(mean over time of H; channel)), a_t = sigmoid(conv1d(H; temporal)), with the padding that keeps the
/// length.
///
/// r (B, Cr, T), f (B, Cf, T), out (B, Cf, T), or (B, 2 Cf, T) of kConcat, channel (B, Cf), temporal (B, T);
/// embed.weight (D, Cr, k), embed.bias (D), channel.weight (Cf, D), channel.bias (Cf), temporal.weight (1, D, k),
/// temporal.bias (1), with odd k. Throws heed::Error for shapes that do not fit and for no time steps. Time O(B T (D Cr
/// k + Cf)). The same bits for any number of threads. Source: Sridhar et al. 2021: a transcription; widths, kernel and
/// the default of `fusion` are our reading.
template <Real T>
struct ClassSemanticsAttention {
  enum class Fusion { kAdd, kMultiply, kMax, kConcat };
  struct Options {
    Fusion fusion = Fusion::kAdd;
  };
  template <class Out, class Vectors>
  struct Result {
    Out out;
    Vectors channel, temporal;
  };

  Options options = {};
  Conv1d<T> embed = {};
  Linear<T> channel = {};
  Conv1d<T> temporal = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "embed.", embed, "channel.", channel, "temporal.", temporal);
  }

  template <Operand R, Operand Features>
  auto operator()(const R& r, const Features& f) const {
    return (*this)(DeviceRef(), r, f);
  }
  template <Device D, Operand R, Operand Features>
  auto operator()(const D& device, const R& r, const Features& f) const {
    static_assert(kOperandRank<R> == 3 && kOperandRank<Features> == 3, "heed: r is (B, Cr, T) and f (B, Cf, T)");
    const auto sizes = sizes_of(f);
    const Index k = embed.weight.dimension(2), width = embed.weight.dimension(0);
    require_shape(kName, "r", sizes_of(r), std::array<Index, 3>{sizes[0], sizes_of(r)[1], sizes[2]});
    require_parameter(kName, "embed.weight", embed.weight, {-1, sizes_of(r)[1], k});
    require_parameter(kName, "channel.weight", channel.weight, {sizes[1], width});
    require_parameter(kName, "temporal.weight", temporal.weight, {1, width, k});
    require(k % 2 == 1, kName, "embed.weight must have an odd kernel, got ", k);
    const auto hidden = relu(device, conv_1d(device, r, embed.weight, embed.bias, Conv1dOptions::same(k)));
    const auto average = mean(device, hidden, {2});
    auto a_c = sigmoid(device, channel(device, view(average).select(2, 0)));
    const auto steps = conv_1d(device, hidden, temporal.weight, temporal.bias, Conv1dOptions::same(k));
    auto a_t = sigmoid(device, view(steps).select(1, 0));
    auto out = fuse(device, f, view(a_c).split(1, 1), view(a_t).split(1, sizes[2]));
    return Result<decltype(out), decltype(a_c)>{out, a_c, a_t};
  }

 private:
  static constexpr std::string_view kName = "class_semantics_attention";

  template <Device D, Operand X, Operand A, Operand B>
  auto fuse(const D& device, const X& f, const A& a, const B& b) const {
    if (options.fusion == Fusion::kMultiply) return gate(device, f, a, b);
    if (options.fusion == Fusion::kMax) return pointwise(detail::LargerGate(), device, f, a, b);
    if (options.fusion == Fusion::kConcat) return concat<1>(device, multiply(device, f, a), multiply(device, f, b));
    return pointwise(detail::SumGate(), device, f, a, b);
  }
};

}  // namespace heed::inline HEED_ISA
