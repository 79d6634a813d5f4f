// SPDX-License-Identifier: Apache-2.0
// linear: the affine map of a layer over the last axis.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/core/parameters.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/gemm.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Calls f(matrices...) for views of one rank that agree in all axes but the last: as one matrix each where all of them
// lie evenly in memory, (B, N, in) as (B N, in), else for each leading index in turn.
template <class F, class... U, int Rank>
void for_each_matrix(const F& f, const View<U, Rank>&... x) {
  if constexpr (Rank == 1) {
    f(x.template promote<2>()...);
  } else if constexpr (Rank == 2) {
    f(x...);
  } else {
    const Index size = std::min({x.size(0)...});
    const auto evenly = [](const auto& view) { return view.stride(0) == view.size(1) * view.stride(1); };
    if (size != 1 && (evenly(x) && ...)) {  // one product, shared by all threads
      for_each_matrix(f, x.merge(0)...);
    } else {
      for (Index i = 0; i < size; ++i) for_each_matrix(f, x.select(0, i)...);
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
///
/// Gradient: of x, weight and bias, linear_backward.
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
  // The number of tokens alone decides on the kernel, so that a row has the same bits in any batch.
  Index tokens = 1;
  if constexpr (rank > 1) tokens = input.size(rank - 2);
  const bool few = tokens <= kernel::kFewTokens<heed::Compute<ScalarOf<X>>>;
  detail::for_each_matrix(
      [&](const auto& rows, const auto& results) {
        if (few) {
          kernel::gemm_few(device, rows, w, b, results);
        } else {
          kernel::gemm(device, rows, w, b, results);
        }
      },
      input, target);
}
template <Device D, Operand X, Operand W, Operand B>
auto linear(const D& device, const X& x, const W& weight, const B& bias) {
  auto sizes = sizes_of(x);
  sizes.back() = sizes_of(weight)[0];
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("linear", sizes, x, weight, bias);
  linear(device, x, weight, bias, out);
  return out;
}
template <Operand X, Operand W, Operand B>
auto linear(const X& x, const W& weight, const B& bias) {
  return linear(DeviceRef(), x, weight, bias);
}

/// The gradients of linear, added: d_x += d_out weight, d_weight += d_out^T x, d_bias += the sum of d_out over rows.
/// Shapes as of x, weight, bias and out, all of float or all of double; a d_ view of null data is not wanted. The same
/// bits for any number of threads. Time O(rows * in * out) for each of d_x and d_weight.
template <Device D, Real T, int Rank>
void linear_backward(const D& device, const View<const T, Rank>& x, const View<const T, 2>& weight,
                     const View<const T, Rank>& d_out, const View<T, Rank>& d_x, const View<T, 2>& d_weight,
                     const View<T, 1>& d_bias) {
  using kernel::Write;
  const View<const T, 1> none;
  if (d_out.count() == 0) return;
  if (d_x.data)
    detail::for_each_matrix(
        [&](const auto& d_rows, const auto& d_results) {
          kernel::gemm<Write::kAdd>(device, d_rows, weight.permute({1, 0}), none, d_results);
        },
        d_out, d_x);
  if (d_weight.data)
    detail::for_each_matrix(
        [&](const auto& d_rows, const auto& rows) {
          kernel::gemm<Write::kAdd>(device, d_rows.permute({1, 0}), rows.permute({1, 0}), none, d_weight);
        },
        d_out, x);
  if (d_bias.data)
    kernel::copy<Write::kAdd>(device, d_out,
                              d_bias.template promote<Rank>().broadcast(d_out.sizes, "linear_backward", "d_bias"));
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

  template <Operand X>
  auto operator()(const X& x) const {
    return linear(x, weight, bias);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    return linear(device, x, weight, bias);
  }
  /// Into a tensor, view or variable of the right shape.
  template <Device D, Operand X, Operand O>
  void operator()(const D& device, const X& x, O&& out) const {
    linear(device, x, weight, bias, out);
  }
};

/// Throws heed::Error in the name of an operator unless its part `name` maps `in` channels to `out`.
template <Storage T>
void check_linear(std::string_view where, std::string_view name, const Linear<T>& layer, Index in, Index out) {
  const std::array<Index, 2> expected{out, in};
  require(const_view(layer.weight).sizes == expected, where, name, ".weight must have shape ", shape_text(expected),
          ", got ", shape_text(const_view(layer.weight).sizes));
  require(layer.bias.size() == 0 || layer.bias.size() == out, where, name, ".bias must be empty or have shape (", out,
          "), got (", layer.bias.size(), ")");
}
/// The same of several parts: check_linears(where, in, out, "q", q, "k", k).
template <Storage T, class... Rest>
void check_linears(std::string_view where, Index in, Index out, std::string_view name, const Linear<T>& layer,
                   const Rest&... rest) {
  check_linear(where, name, layer, in, out);
  if constexpr (sizeof...(Rest) > 0) check_linears(where, in, out, rest...);
}

}  // namespace heed::inline HEED_ISA
