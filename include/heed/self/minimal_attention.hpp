// SPDX-License-Identifier: Apache-2.0
// minimal_attention: attention with its projections merged, tied, made symmetric or left out.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/triangle.hpp"

namespace heed::inline HEED_ISA {

/// The matrix W that compares two tokens, x_i W x_j^T:
enum class MinimalSimilarity {
  kQueryKey,           ///< q.weight k.weight^T, head by head
  kCollapsed,          ///< similarity.weight
  kSymmetricShared,    ///< q.weight q.weight^T, head by head
  kSymmetricMirrored,  ///< the lower triangle of similarity.weight, reflected
  kSymmetricCholesky,  ///< L L^T, L the lower triangle of similarity.weight
};
/// What is mixed by the attention map A of a head:
enum class MinimalValue {
  kFull,       ///< A x v.weight out.weight, head by head
  kCollapsed,  ///< A x vo.weight
  kOmitted,    ///< A x: every output is a convex combination of inputs
};

/// out = sum over heads of softmax(x W x^T / sqrt(D)) x v.weight out.weight, with fewer matrices than that.
///
///   heed::MinimalAttention<float> attend{{.similarity = heed::MinimalSimilarity::kSymmetricCholesky,
///                                         .value = heed::MinimalValue::kOmitted}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x. Weights are (C, C) and, unlike elsewhere, (in, out): y = x W. Those that the options do not
/// call for stay empty. Head h owns columns h D .. h D + D - 1 of q, k and v and those rows of out, D = C / num_heads;
/// num_heads is 1 unless the value is kFull and the similarity kQueryKey or kSymmetricShared. What is above the
/// diagonal of a triangular form is ignored and has no gradient. Causal: j <= i.
///
/// Throws heed::Error for shapes and options that do not fit. Time of the products that are left and of
/// softmax_attention. Source: Bermeitinger et al. 2024, "Reducing the Transformer Architecture to a Minimum", sections
/// 3 to 5 (transcription; the scale is that of the standard layer, which the paper's matrices stand in).
template <Real T>
struct MinimalAttention {
  struct Options {
    MinimalSimilarity similarity = MinimalSimilarity::kQueryKey;
    MinimalValue value = MinimalValue::kFull;
    Index num_heads = 1;
    bool causal = false;
  };
  /// A product x weight, without a bias.
  struct Product {
    Tensor<T, 2> weight = {};
    template <class F>
    void for_each_parameter(F&& f) {
      f("weight", weight);
    }
  };

  Options options = {};
  Product q = {}, k = {}, v = {}, out = {};
  Product similarity = {};  ///< stands for q k^T
  Product vo = {};          ///< stands for v out

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("q.", q, f, heed::optional);
    visit_part("k.", k, f, heed::optional);
    visit_part("v.", v, f, heed::optional);
    visit_part("out.", out, f, heed::optional);
    visit_part("similarity.", similarity, f, heed::optional);
    visit_part("vo.", vo, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MinimalAttention: x is (B, N, C)");
    check(sizes_of(x)[2]);
    switch (options.similarity) {
      case MinimalSimilarity::kQueryKey:
        return mix(device, x, times(device, x, q.weight), times(device, x, k.weight));
      case MinimalSimilarity::kSymmetricShared: {
        const auto queries = times(device, x, q.weight);
        return mix(device, x, queries, queries);
      }
      case MinimalSimilarity::kSymmetricCholesky: {
        const auto lower = lower_triangle(device, parameter_with(similarity.weight, x));
        const auto queries = times(device, x, lower);
        return mix(device, x, queries, queries);
      }
      case MinimalSimilarity::kSymmetricMirrored: {
        const auto weight = parameter_with(similarity.weight, x);
        const auto lower = lower_triangle(device, weight), strictly = lower_triangle(device, weight, -1);
        return mix(device, x, times(device, x, add(device, lower, view(strictly).permute({1, 0}))), x);
      }
      case MinimalSimilarity::kCollapsed:
        break;
    }
    return mix(device, x, times(device, x, similarity.weight), x);
  }

 private:
  static constexpr std::string_view kName = "minimal_attention";

  template <class D, class X, class W>
  static auto times(const D& device, const X& x, const W& weight) {
    return linear(device, x, view(weight).permute({1, 0}), View<const T, 1>());
  }

  template <class D, class X, class Q, class K>
  auto mix(const D& device, const X& x, const Q& queries, const K& keys) const {
    const Index heads = options.num_heads;
    const auto attend = [&](const auto& values) {
      return attend_heads(device, softmax_attention(when(options.causal, causal())), split_heads(queries, heads),
                          split_heads(keys, heads), split_heads(values, heads));
    };
    if (options.value == MinimalValue::kOmitted) return attend(x);
    if (options.value == MinimalValue::kCollapsed) return attend(times(device, x, vo.weight));
    return times(device, attend(times(device, x, v.weight)), out.weight);
  }

  void check(Index channels) const {
    using enum MinimalSimilarity;
    const bool by_head = options.similarity == kQueryKey || options.similarity == kSymmetricShared;
    const bool full = options.value == MinimalValue::kFull;
    require(options.num_heads > 0 && channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    require(options.num_heads == 1 || (by_head && full), kName,
            "num_heads must be 1 with a collapsed or triangular similarity and with a collapsed or omitted value, got ",
            options.num_heads);
    const auto check_weight = [&](bool used, std::string_view name, const Product& part) {
      if (used) require_shape(kName, name, const_view(part.weight).sizes, std::array<Index, 2>{channels, channels});
    };
    check_weight(by_head, "q.weight", q);
    check_weight(options.similarity == kQueryKey, "k.weight", k);
    check_weight(!by_head, "similarity.weight", similarity);
    check_weight(full, "v.weight", v);
    check_weight(full, "out.weight", out);
    check_weight(options.value == MinimalValue::kCollapsed, "vo.weight", vo);
  }
};

}  // namespace heed::inline HEED_ISA
