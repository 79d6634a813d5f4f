// SPDX-License-Identifier: Apache-2.0
// pointwise: any function of several tensors, element by element, in one pass: what applies a gate.
#pragma once

#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// Named, not lambdas: one for all shapes and kinds of tensor.
template <Real T, class F>
struct PointwiseValue {
  F f;
  template <class... B>
  simd::Batch<T> operator()(B... x) const {
    return f.template value<T>(x...);
  }
};
template <int Operand, Real T, class F>
struct PointwiseGradient {
  F f;
  template <class... B>
  simd::Batch<T> operator()(simd::Batch<T> d, B... x) const {
    return f.template gradient<Operand, T>(d, x...);
  }
};

template <Operand... X>
auto pointwise_sizes(std::string_view where, const X&... x) {
  constexpr int rank = std::max({kOperandRank<X>...});
  std::array<Index, std::size_t(rank)> sizes;
  sizes.fill(1);
  const auto take = [&](const auto& more) {
    const std::size_t shift = sizes.size() - more.size();
    for (std::size_t axis = 0; axis < more.size(); ++axis) {
      Index& size = sizes[axis + shift];
      require(size == more[axis] || size == 1 || more[axis] == 1, where, "shapes ", shape_text(sizes), " and ",
              shape_text(more), " do not broadcast: their axes, from the last one on, must be equal or 1");
      if (size == 1) size = more[axis];
    }
  };
  (take(sizes_of(x)), ...);
  return sizes;
}

template <class T, int Rank, std::size_t To>
View<T, int(To)> pointwise_stretch(const View<T, Rank>& x, const std::array<Index, To>& sizes) {
  return x.template promote<int(To)>().broadcast(sizes, "pointwise", "an operand");
}

template <class F, class D, class UO, int Rank, class... U, int... Ranks>
void pointwise_sum_into(const F& f, const D& device, const View<UO, Rank>& out,
                        const std::array<Index, std::size_t(Rank)>& sizes, const View<const U, Ranks>&... x) {
  using T = heed::Compute<UO>;
  std::fill_n(out.data, out.count(), UO(0));
  kernel::elementwise<kernel::Write::kAdd, T>(device, PointwiseValue<T, F>{f}, out.broadcast(sizes, F::kName, "out"),
                                              pointwise_stretch(x, sizes)...);
}

}  // namespace detail

/// out = f(x...), element by element, for any number of tensors; axes of size 1 are broadcast, and shorter shapes get
/// leading ones. f gives its value, and what each operand gets of the gradient d of the result, both on batches:
///
///   struct Gate {                                      // x * sigmoid(g)
///     static constexpr std::string_view kName = "gate";
///     template <Real T> Batch<T> value(Batch<T> x, Batch<T> g) const;
///     template <int Operand, Real T> Batch<T> gradient(Batch<T> d, Batch<T> x, Batch<T> g) const;
///   };
///
/// Any strides and storage, computed in double for double and in float for the rest; the result has the first one's
/// type. Throws heed::Error for shapes that do not broadcast. Every tensor is read once and nothing of the size of the
/// result is made beside it; the same bits for any number of threads.
///
/// Gradient: of all operands, pointwise_backward, summed over the axes that were broadcast.
template <class F, Device D, TensorLike O, TensorLike... X>
void pointwise_into(const F& f, const D& device, O&& out, const X&... x) {
  using T = Compute<ScalarOf<O>>;
  static_assert((std::same_as<T, Compute<ScalarOf<X>>> && ...), "heed: double goes with double only");
  const auto target = view(out);
  const auto sizes = detail::pointwise_sizes(F::kName, x...);
  require_shape(F::kName, "out", target.sizes, sizes);
  kernel::elementwise<kernel::Write::kAssign, T>(device, detail::PointwiseValue<T, F>{f}, target,
                                                 detail::pointwise_stretch(const_view(x), sizes)...);
}
template <class F, Device D, TensorLike First, TensorLike... Rest>
auto pointwise(const F& f, const D& device, const First& first, const Rest&... rest) {
  const auto sizes = detail::pointwise_sizes(F::kName, first, rest...);
  Tensor<ScalarOf<First>, int(std::tuple_size_v<decltype(sizes)>)> out;
  out.resize(sizes);
  pointwise_into(f, device, out, first, rest...);
  return out;
}

/// The gradients of pointwise, added to each d_x of the shape of its x; one of null data is not wanted. d_x is a tuple
/// of as many views. Summed in row-major order, with the same bits for any number of threads.
template <class F, Device D, Real T, int Rank, class... DX, int... Ranks>
void pointwise_backward(const F& f, const D& device, const View<const T, Rank>& d_out, const std::tuple<DX...>& d_x,
                        const View<const T, Ranks>&... x) {
  const auto one = [&]<int I>(const auto& sum) {
    if (!sum.data) return;
    kernel::elementwise<kernel::Write::kAdd, T>(device, detail::PointwiseGradient<I, T, F>{f},
                                                detail::pointwise_stretch(sum, d_out.sizes), d_out,
                                                detail::pointwise_stretch(x, d_out.sizes)...);
  };
  [&]<std::size_t... I>(std::index_sequence<I...>) { (one.template operator()<int(I)>(std::get<I>(d_x)), ...); }
  (std::index_sequence_for<DX...>());
}

/// The sum of f(x...) over some axes of its result, which stay with size 1, in one pass and without the result:
/// pointwise_sum(f, device, {2, 3}, x...). Summed as by sum(). Gradient: of all operands, pointwise_sum_backward.
template <class F, Device D, std::size_t Count, TensorLike First, TensorLike... Rest>
auto pointwise_sum(const F& f, const D& device, const int (&axes)[Count], const First& first, const Rest&... rest) {
  const auto sizes = detail::pointwise_sizes(F::kName, first, rest...);
  Tensor<ScalarOf<First>, int(std::tuple_size_v<decltype(sizes)>)> out;
  out.resize(detail::reduced_sizes(F::kName, sizes, std::to_array(axes)));
  detail::pointwise_sum_into(f, device, view(out), sizes, const_view(first), const_view(rest)...);
  return out;
}

/// The gradients of pointwise_sum, as pointwise_backward of a d_out that is the same along the summed axes.
template <class F, Device D, Real T, int Rank, class... DX, int... Ranks>
void pointwise_sum_backward(const F& f, const D& device, const View<const T, Rank>& d_out, const std::tuple<DX...>& d_x,
                            const View<const T, Ranks>&... x) {
  const auto sizes = detail::pointwise_sizes(F::kName, x...);
  pointwise_backward(f, device, d_out.broadcast(sizes, F::kName, "d_out"), d_x, x...);
}

}  // namespace heed::inline HEED_ISA
