// SPDX-License-Identifier: Apache-2.0
// Sums, differences, products and quotients of tensors, element by element.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// An operation of two elements: its value, and what its operands get of the gradient d of the result.
struct Sum {
  static constexpr std::string_view kName = "add";
  template <class B>
  static B value(B a, B b) {
    return a + b;
  }
  template <class B>
  static B first(B d, B, B) {
    return d;
  }
  template <class B>
  static B second(B d, B, B) {
    return d;
  }
};
struct Difference {
  static constexpr std::string_view kName = "subtract";
  template <class B>
  static B value(B a, B b) {
    return a - b;
  }
  template <class B>
  static B first(B d, B, B) {
    return d;
  }
  template <class B>
  static B second(B d, B, B) {
    return -d;
  }
};
struct Product {
  static constexpr std::string_view kName = "multiply";
  template <class B>
  static B value(B a, B b) {
    return a * b;
  }
  template <class B>
  static B first(B d, B, B b) {
    return d * b;
  }
  template <class B>
  static B second(B d, B a, B) {
    return d * a;
  }
};
/// x where it is positive, slope * x elsewhere: with a learned slope the parametric ReLU.
struct SlopeBelowZero {
  static constexpr std::string_view kName = "prelu";
  template <class B>
  static B value(B x, B slope) {
    return simd::select(x > B(0), x, B(slope * x));
  }
  template <class B>
  static B first(B d, B x, B slope) {
    return simd::select(x > B(0), d, B(slope * d));
  }
  template <class B>
  static B second(B d, B x, B) {
    return simd::select(x > B(0), B(0), B(x * d));
  }
};
struct Quotient {
  static constexpr std::string_view kName = "divide";
  template <class B>
  static B value(B a, B b) {
    return a / b;
  }
  template <class B>
  static B first(B d, B, B b) {
    return d / b;
  }
  template <class B>
  static B second(B d, B a, B b) {
    return -d * a / (b * b);
  }
};

namespace detail {

// Named, not lambdas: one for all shapes and kinds of tensor.
template <class Operation>
struct ValueOf {
  template <class B>
  B operator()(B x, B y) const {
    return Operation::value(x, y);
  }
};
template <class Operation>
struct FirstGradientOf {
  template <class B>
  B operator()(B d, B x, B y) const {
    return Operation::first(d, x, y);
  }
};
template <class Operation>
struct SecondGradientOf {
  template <class B>
  B operator()(B d, B x, B y) const {
    return Operation::second(d, x, y);
  }
};

template <class A, class B>
inline constexpr int kJointRank = std::max(kOperandRank<A>, kOperandRank<B>);

/// The sizes of two operands broadcast against each other, leading axes of size 1 added to the shorter one.
template <Operand A, Operand B>
auto joint_sizes(std::string_view where, const A& a, const B& b) {
  constexpr int rank = kJointRank<A, B>;
  std::array<Index, std::size_t(rank)> sizes;
  const auto size_of = [](const auto& of, int axis) { return axis < 0 ? Index(1) : of[std::size_t(axis)]; };
  const auto first = sizes_of(a);
  const auto second = sizes_of(b);
  for (int axis = 0; axis < rank; ++axis) {
    const Index x = size_of(first, axis - rank + kOperandRank<A>), y = size_of(second, axis - rank + kOperandRank<B>);
    require(x == y || x == 1 || y == 1, where, "shapes ", shape_text(first), " and ", shape_text(second),
            " do not broadcast: their axes, from the last one on, must be equal or 1");
    sizes[std::size_t(axis)] = x == 1 ? y : x;
  }
  return sizes;
}

template <class T, int Rank, int To>
View<T, To> stretch(const View<T, Rank>& x, const std::array<Index, std::size_t(To)>& sizes) {
  return x.template promote<To>().broadcast(sizes, "elementwise", "an operand");
}

}  // namespace detail

/// out = operation(a, b), element by element; axes of size 1 are broadcast, and the shorter shape gets leading ones.
/// Any strides and storage, computed in double for double and in float for the rest; the result has a's type. Empty
/// tensors give empty ones. Throws heed::Error for shapes that do not broadcast or another shape of out. Time
/// O(result); the same bits for any number of threads.
///
/// Gradient: of both operands, elementwise_backward, summed over the axes that were broadcast.
template <class Operation, Device D, TensorLike A, TensorLike B, TensorLike O>
void elementwise(Operation, const D& device, const A& a, const B& b, O&& out) {
  using T = Compute<ScalarOf<A>>;
  static_assert(std::same_as<T, Compute<ScalarOf<B>>> && std::same_as<T, Compute<ScalarOf<O>>>,
                "heed: double goes with double only");
  constexpr int rank = detail::kJointRank<A, B>;
  static_assert(kRankOf<O> == rank, "heed: out has as many axes as the operand that has more");
  const auto sizes = detail::joint_sizes(Operation::kName, a, b);
  const auto target = view(out);
  require(target.sizes == sizes, Operation::kName, "out must have shape ", shape_text(sizes), ", got ",
          shape_text(target.sizes));
  kernel::elementwise<kernel::Write::kAssign, T>(
      device, detail::ValueOf<Operation>(), target,
      detail::stretch<const ScalarOf<A>, kRankOf<A>, rank>(const_view(a), sizes),
      detail::stretch<const ScalarOf<B>, kRankOf<B>, rank>(const_view(b), sizes));
}
template <class Operation, Device D, Operand A, Operand B>
auto elementwise(Operation operation, const D& device, const A& a, const B& b) {
  auto out = make_output<OperandScalar<A>, detail::kJointRank<A, B>>(Operation::kName,
                                                                     detail::joint_sizes(Operation::kName, a, b), a, b);
  elementwise(operation, device, a, b, out);
  return out;
}

/// The gradients of elementwise, added to d_a and d_b, of the shapes of a and b; one of null data is not wanted. Summed
/// in row-major order, with the same bits for any number of threads.
template <class Operation, Device D, Real T, int RankA, int RankB, int Rank>
void elementwise_backward(Operation, const D& device, const View<const T, RankA>& a, const View<const T, RankB>& b,
                          const View<const T, Rank>& d_out, const View<T, RankA>& d_a, const View<T, RankB>& d_b) {
  const auto first = detail::stretch<const T, RankA, Rank>(a, d_out.sizes);
  const auto second = detail::stretch<const T, RankB, Rank>(b, d_out.sizes);
  if (d_a.data)
    kernel::elementwise<kernel::Write::kAdd, T>(device, detail::FirstGradientOf<Operation>(),
                                                detail::stretch<T, RankA, Rank>(d_a, d_out.sizes), d_out, first,
                                                second);
  if (d_b.data)
    kernel::elementwise<kernel::Write::kAdd, T>(device, detail::SecondGradientOf<Operation>(),
                                                detail::stretch<T, RankB, Rank>(d_b, d_out.sizes), d_out, first,
                                                second);
}

/// a + b, a - b, a * b and a / b with broadcasting, of tensors or variables: see elementwise.
template <Device D, Operand A, Operand B>
auto add(const D& device, const A& a, const B& b) {
  return elementwise(Sum(), device, a, b);
}
template <Operand A, Operand B>
auto add(const A& a, const B& b) {
  return elementwise(Sum(), DeviceRef(), a, b);
}
template <Device D, Operand A, Operand B>
auto subtract(const D& device, const A& a, const B& b) {
  return elementwise(Difference(), device, a, b);
}
template <Operand A, Operand B>
auto subtract(const A& a, const B& b) {
  return elementwise(Difference(), DeviceRef(), a, b);
}
template <Device D, Operand A, Operand B>
auto multiply(const D& device, const A& a, const B& b) {
  return elementwise(Product(), device, a, b);
}
template <Operand A, Operand B>
auto multiply(const A& a, const B& b) {
  return elementwise(Product(), DeviceRef(), a, b);
}
/// x where it is positive, slope * x elsewhere, with broadcasting: see elementwise. Source: He et al. 2015.
template <Device D, Operand X, Operand S>
auto prelu(const D& device, const X& x, const S& slope) {
  return elementwise(SlopeBelowZero(), device, x, slope);
}
template <Operand X, Operand S>
auto prelu(const X& x, const S& slope) {
  return elementwise(SlopeBelowZero(), DeviceRef(), x, slope);
}
template <Device D, Operand A, Operand B>
auto divide(const D& device, const A& a, const B& b) {
  return elementwise(Quotient(), device, a, b);
}
template <Operand A, Operand B>
auto divide(const A& a, const B& b) {
  return elementwise(Quotient(), DeviceRef(), a, b);
}

/// out = factor * x, or with Write::kAdd out += factor * x. Any strides and storage. Throws heed::Error for another
/// shape of out.
///
/// Gradient: of x, by scale itself: d_x += factor * d_out.
template <kernel::Write write = kernel::Write::kAssign, Device D, TensorLike X, TensorLike O>
void scale(const D& device, const X& x, double factor, O&& out) {
  using T = Compute<ScalarOf<X>>;
  static_assert(kRankOf<X> == kRankOf<O> && std::same_as<T, Compute<ScalarOf<O>>>,
                "heed::scale: out has the axes of x, and double goes with double only");
  const auto target = view(out);
  require(target.sizes == const_view(x).sizes, "scale", "out must have shape ", shape_text(const_view(x).sizes),
          ", got ", shape_text(target.sizes));
  kernel::elementwise<write, T>(device, kernel::Multiple<T>{T(factor)}, target, const_view(x));
}
template <Device D, Operand X>
auto scale(const D& device, const X& x, double factor) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("scale", sizes_of(x), x);
  scale(device, x, factor, out);
  return out;
}
template <Operand X>
auto scale(const X& x, double factor) {
  return scale(DeviceRef(), x, factor);
}

}  // namespace heed::inline HEED_ISA
