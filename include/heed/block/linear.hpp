// SPDX-License-Identifier: Apache-2.0
// linear: the affine map of a layer over the last axis.
#pragma once

#include "heed/core/parameters.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// `tokens`: the size of the last axis but one. It alone decides on the kernel, so that a row has the same bits in any
// batch.
template <class D, class UX, class UW, class UO, int Rank>
void linear_rows(const D& device, Index tokens, const View<const UX, Rank>& x, const View<const UW, 2>& weight,
                 const View<const UW, 1>& bias, const View<UO, Rank>& out) {
  if constexpr (Rank == 1) {
    linear_rows(device, tokens, x.template promote<2>(), weight, bias, out.template promote<2>());
  } else if constexpr (Rank == 2) {
    if (tokens <= kernel::kFewTokens<heed::Compute<UX>>) {
      kernel::gemm_few(device, x, weight, bias, out);
    } else {
      kernel::gemm(device, x, weight, bias, out);
    }
  } else {
    const auto evenly = [](const auto& view) { return view.stride(0) == view.size(1) * view.stride(1); };
    if (x.size(0) != 1 && evenly(x) && evenly(out)) {  // (B, N, in) as (B N, in): one product, shared by all threads
      const auto merged = [](auto view) {
        view.sizes[1] *= view.sizes[0];
        view.sizes[0] = 1;
        return view.select(0, 0);
      };
      linear_rows(device, tokens, merged(x), weight, bias, merged(out));
    } else {
      for (Index i = 0; i < x.size(0); ++i) linear_rows(device, tokens, x.select(0, i), weight, bias, out.select(0, i));
    }
  }
}

}  // namespace detail

/// out = x weight^T + bias over the last axis: x (..., in), weight (out, in), bias (out) or empty, result (..., out).
///
/// Any rank, any strides, any storage; weight and bias of one type. The result has x's type. The last axis but one of x
/// holds the tokens; a few of them (kernel::kFewTokens) go through a kernel of their own, and beyond that choice a row
/// has the same bits for any number of tokens, batch and number of threads. Throws heed::Error for shapes that do not
/// fit. Time O(rows * in * out).
template <Device D, TensorLike X, TensorLike W, TensorLike B, TensorLike O>
void linear(const D& device, const X& x, const W& weight, const B& bias, O&& out) {
  static_assert(kRankOf<W> == 2 && kRankOf<B> == 1, "heed::linear: weight is (out, in) and bias (out)");
  static_assert(std::same_as<ScalarOf<W>, ScalarOf<B>>, "heed::linear: weight and bias must have one scalar type");
  const auto input = const_view(x);
  const auto w = const_view(weight);
  auto b = const_view(bias);
  const auto target = view(out);
  constexpr int rank = kRankOf<X>;
  static_assert(decltype(target)::rank == rank, "heed::linear: out has as many axes as x");
  require(w.size(1) == input.size(rank - 1), "linear",
          "weight must have shape (out, in) with in = ", input.size(rank - 1), ", the last axis of x, got ",
          shape_text(w.sizes));
  require(b.size(0) == 0 || b.size(0) == w.size(0), "linear", "bias must be empty or have shape (", w.size(0),
          "), got ", shape_text(b.sizes));
  std::array<Index, std::size_t(rank)> expected = input.sizes;
  expected[std::size_t(rank) - 1] = w.size(0);
  require(target.sizes == expected, "linear", "out must have shape ", shape_text(expected), ", got ",
          shape_text(target.sizes));
  if (b.size(0) == 0) b.data = nullptr;
  if (target.count() == 0) return;
  Index tokens = 1;
  if constexpr (rank > 1) tokens = input.size(rank - 2);
  detail::linear_rows(device, tokens, input, w, b, target);
}
template <Device D, TensorLike X, TensorLike W, TensorLike B>
auto linear(const D& device, const X& x, const W& weight, const B& bias) {
  constexpr int rank = kRankOf<X>;
  Eigen::DSizes<Index, rank> sizes;
  for (int axis = 0; axis < rank - 1; ++axis) sizes[std::size_t(axis)] = const_view(x).size(axis);
  sizes[rank - 1] = const_view(weight).size(0);
  Tensor<ScalarOf<X>, rank> out(sizes);
  linear(device, x, weight, bias, out);
  return out;
}
template <TensorLike X, TensorLike W, TensorLike B>
auto linear(const X& x, const W& weight, const B& bias) {
  return linear(Eigen::DefaultDevice(), x, weight, bias);
}

/// A linear layer: weight (out, in), bias (out) or empty.
template <Storage T>
struct Linear {
  Tensor<T, 2> weight = {};
  Tensor<T, 1> bias = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("weight", weight);
    f("bias", bias, heed::optional);
  }

  template <TensorLike X>
  auto operator()(const X& x) const {
    return linear(x, weight, bias);
  }
  template <Device D, TensorLike X>
  auto operator()(const D& device, const X& x) const {
    return linear(device, x, weight, bias);
  }
  /// Into a tensor or view of the right shape.
  template <Device D, TensorLike X, TensorLike O>
  void operator()(const D& device, const X& x, O&& out) const {
    linear(device, x, weight, bias, out);
  }
};

}  // namespace heed::inline HEED_ISA
