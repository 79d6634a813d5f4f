// SPDX-License-Identifier: Apache-2.0
// heed::Tensor and heed::View: owning Eigen tensors, and the strided views that every operator takes.
#pragma once

#ifndef EIGEN_USE_THREADS
#define EIGEN_USE_THREADS
#endif
#include <algorithm>
#include <array>
#include <concepts>
#include <initializer_list>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>

#include "heed/core/error.hpp"
#include "heed/core/scalar.hpp"

namespace heed {

/// A row-major Eigen tensor that owns its memory.
template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

/// A row-major Eigen matrix that owns its memory.
template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline namespace HEED_ISA {

/// A non-owning view of `Rank` axes with any strides (in elements, zero and negative included). It is made implicitly
/// from Eigen tensors, maps and matrices, and cut, permuted and broadcast without copying:
///
///   View<float, 5> packed(qkv);                                       // (B, N, 3, H, D)
///   View<float, 4> q = packed.select(2, 0).permute({0, 2, 1, 3});     // (B, H, N, D), in place
template <class T, int Rank>
struct View {
  using Scalar = T;
  static constexpr int rank = Rank;

  T* data = nullptr;
  std::array<Index, Rank> sizes{};
  std::array<Index, Rank> strides{};

  View() = default;

  /// Contiguous row-major memory.
  View(T* data, const std::array<Index, Rank>& sizes) : data(data), sizes(sizes) {
    Index stride = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      strides[std::size_t(axis)] = stride;
      stride *= sizes[std::size_t(axis)];
    }
  }

  View(T* data, const std::array<Index, Rank>& sizes, const std::array<Index, Rank>& strides)
      : data(data), sizes(sizes), strides(strides) {}

  /// View<T> reads where View<const T> is asked for.
  template <class U>
  requires(std::is_const_v<T>&& std::same_as<U, std::remove_const_t<T>>) View(const View<U, Rank>& other)
      : data(other.data), sizes(other.sizes), strides(other.strides) {}

  template <class U, int Layout, class I>
  requires std::same_as<std::remove_const_t<T>, U> View(Eigen::Tensor<U, Rank, Layout, I>& tensor) {
    from_tensor<Layout>(tensor.data(), tensor);
  }

  template <class U, int Layout, class I>
  requires(std::is_const_v<T>&& std::same_as<std::remove_const_t<T>, U>)
      View(const Eigen::Tensor<U, Rank, Layout, I>& tensor) {
    from_tensor<Layout>(tensor.data(), tensor);
  }

  template <class U, int Layout, class I, int Options>
  requires std::is_convertible_v<U*, T*> View(const Eigen::TensorMap<Eigen::Tensor<U, Rank, Layout, I>, Options>& map) {
    from_tensor<Layout>(const_cast<U*>(map.data()), map);
  }

  template <class U, int Layout, class I, int Options>
  requires std::is_const_v<T> View(const Eigen::TensorMap<const Eigen::Tensor<U, Rank, Layout, I>, Options>& map) {
    from_tensor<Layout>(map.data(), map);
  }

  /// Matrices, vectors, blocks, maps and refs of rank 2, by their strides.
  template <class Derived>
  requires(Rank == 2 && std::same_as<typename Derived::Scalar, std::remove_const_t<T>> &&
           (Derived::Flags & Eigen::DirectAccessBit) != 0) View(const Eigen::DenseBase<Derived>& matrix)
      : data(const_cast<T*>(matrix.derived().data())),
        sizes{matrix.rows(), matrix.cols()},
        strides{matrix.derived().rowStride(), matrix.derived().colStride()} {
    static_assert(std::is_const_v<T> || (Derived::Flags & Eigen::LvalueBit) != 0,
                  "heed: a writable view needs a writable matrix");
  }

  /// A vector of rank 1.
  template <class Derived>
  requires(Rank == 1 && std::same_as<typename Derived::Scalar, std::remove_const_t<T>> &&
           bool(Derived::IsVectorAtCompileTime) && (Derived::Flags & Eigen::DirectAccessBit) != 0)
      View(const Eigen::DenseBase<Derived>& vector)
      : data(const_cast<T*>(vector.derived().data())), sizes{vector.size()}, strides{vector.derived().innerStride()} {}

  Index size(int axis) const { return sizes[std::size_t(axis)]; }
  Index stride(int axis) const { return strides[std::size_t(axis)]; }

  Index count() const {
    Index product = 1;
    for (const Index size : sizes) product *= size;
    return product;
  }

  /// The address of an element, or of the first element below fewer indices.
  template <class... I>
  T* at(I... index) const {
    static_assert(sizeof...(I) <= std::size_t(Rank));
    T* address = data;
    std::size_t axis = 0;
    ((address += Index(index) * strides[axis++]), ...);
    return address;
  }

  template <class... I>
  T& operator()(I... index) const {
    static_assert(sizeof...(I) == std::size_t(Rank));
    return *at(index...);
  }

  /// Axis a of the result is axis order[a] of this view.
  View permute(const std::array<int, Rank>& order) const {
    View result = *this;
    for (std::size_t a = 0; a < std::size_t(Rank); ++a) {
      result.sizes[a] = sizes[std::size_t(order[a])];
      result.strides[a] = strides[std::size_t(order[a])];
    }
    return result;
  }

  /// Elements [start, start + length) of one axis.
  View slice(int axis, Index start, Index length) const {
    require(start >= 0 && length >= 0 && start + length <= size(axis), "View::slice", "elements [", start, ", ",
            start + length, ") are outside of axis ", axis, " of a view of shape ", shape_text(sizes));
    View result = *this;
    result.data = moved(start * stride(axis));
    result.sizes[std::size_t(axis)] = length;
    return result;
  }

  /// Elements first, first + step, first + 2 step, ... of one axis.
  View stepped(int axis, Index first, Index step) const {
    require(step > 0 && first >= 0, "View::stepped", "the first element must be 0 or more and the step 1 or more, got ",
            first, " and ", step);
    const Index length = std::max<Index>(0, size(axis) - first);
    View result = slice(axis, std::min(first, size(axis)), length);
    result.sizes[std::size_t(axis)] = (length + step - 1) / step;
    result.strides[std::size_t(axis)] *= step;
    return result;
  }

  /// The view without one axis, at a position of it.
  View<T, Rank - 1> select(int axis, Index index) const requires(Rank > 1) {
    require(index >= 0 && index < size(axis), "View::select", "index ", index, " is outside of axis ", axis,
            " of a view of shape ", shape_text(sizes));
    View<T, Rank - 1> result;
    result.data = moved(index * stride(axis));
    for (std::size_t a = 0, to = 0; a < std::size_t(Rank); ++a) {
      if (a == std::size_t(axis)) continue;
      result.sizes[to] = sizes[a];
      result.strides[to++] = strides[a];
    }
    return result;
  }

  /// An axis split in two, (size / inner, inner): (B, N, H * D) to (B, N, H, D).
  View<T, Rank + 1> split(int axis, Index inner) const {
    require(inner > 0 && size(axis) % inner == 0, "View::split", "axis ", axis, " of a view of shape ",
            shape_text(sizes), " is no multiple of ", inner);
    View<T, Rank + 1> result;
    result.data = data;
    for (std::size_t a = 0, to = 0; a < std::size_t(Rank); ++a, ++to) {
      result.sizes[to] = sizes[a];
      result.strides[to] = strides[a];
      if (a != std::size_t(axis)) continue;
      result.sizes[to] = sizes[a] / inner;
      result.strides[to] = strides[a] * inner;
      result.sizes[++to] = inner;
      result.strides[to] = strides[a];
    }
    return result;
  }

  /// Axes `axis` and `axis + 1` as one, (B, N, H, D) to (B, N, H * D). They must lie as one in memory.
  View<T, Rank - 1> merge(int axis) const requires(Rank > 1) {
    require(size(axis) <= 1 || size(axis + 1) <= 1 || stride(axis) == size(axis + 1) * stride(axis + 1), "View::merge",
            "axes ", axis, " and ", axis + 1, " of a view of shape ", shape_text(sizes), " and strides ",
            shape_text(strides), " do not lie as one in memory; copy it first, by contiguous()");
    View<T, Rank - 1> result;
    result.data = data;
    for (std::size_t a = 0, to = 0; a < std::size_t(Rank); ++a, ++to) {
      result.sizes[to] = sizes[a];
      result.strides[to] = strides[a];
      if (a != std::size_t(axis)) continue;
      ++a;
      result.sizes[to] *= sizes[a];
      if (sizes[a] != 1) result.strides[to] = strides[a];
    }
    return result;
  }

  /// Axes `axis` and `axis + 1`, of one size, as one: the elements at the same place of both, (B, N, N) to (B, N).
  View<T, Rank - 1> diagonal(int axis) const requires(Rank > 1) {
    require(size(axis) == size(axis + 1), "View::diagonal", "axes ", axis, " and ", axis + 1, " of a view of shape ",
            shape_text(sizes), " must have one size");
    View<T, Rank - 1> result;
    result.data = data;
    for (std::size_t a = 0, to = 0; a < std::size_t(Rank); ++a, ++to) {
      result.sizes[to] = sizes[a];
      result.strides[to] = strides[a];
      if (a == std::size_t(axis)) result.strides[to] += strides[++a];
    }
    return result;
  }

  /// Whether the elements lie one after the other in memory, in row-major order.
  bool is_contiguous() const {
    Index expected = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      if (size(axis) != 1 && stride(axis) != expected) return false;
      expected *= size(axis);
    }
    return true;
  }

  /// A contiguous view in another shape of as many elements.
  template <int To>
  View<T, To> reshape(const std::array<Index, To>& target) const {
    View<T, To> result(data, target);
    require(result.count() == count(), "View::reshape", "a view of shape ", shape_text(sizes),
            " has not as many elements as ", shape_text(target));
    require(count() == 0 || is_contiguous(), "View::reshape", "a view of shape ", shape_text(sizes), " and strides ",
            shape_text(strides), " is not contiguous; copy it first, by contiguous()");
    return result;
  }

  /// Leading axes of size 1 up to rank `To`: (N, D) to (1, 1, N, D).
  template <int To>
  requires(To >= Rank) View<T, To> promote()
  const {
    View<T, To> result;
    result.data = data;
    for (int a = 0; a < To; ++a) {
      const int from = a - (To - Rank);
      result.sizes[std::size_t(a)] = from < 0 ? 1 : size(from);
      result.strides[std::size_t(a)] = from < 0 ? 0 : stride(from);
    }
    return result;
  }

  /// Axes of size 1 stretched to `target` with stride 0; every other axis must already agree.
  View broadcast(const std::array<Index, Rank>& target, std::string_view where, std::string_view name) const {
    View result = *this;
    for (std::size_t a = 0; a < std::size_t(Rank); ++a) {
      require(sizes[a] == target[a] || sizes[a] == 1, where, name, " must be broadcastable to ", shape_text(target),
              ", got ", shape_text(sizes));
      if (sizes[a] != target[a]) {
        result.sizes[a] = target[a];
        result.strides[a] = 0;
      }
    }
    return result;
  }

 private:
  // Nothing may be added to the null pointer that an empty tensor has.
  T* moved(Index offset) const { return data ? data + offset : nullptr; }

  template <int Layout, class Shape>
  void from_tensor(T* memory, const Shape& tensor) {
    data = memory;
    Index stride = 1;
    for (int step = 0; step < Rank; ++step) {
      const int axis = Layout == Eigen::RowMajor ? Rank - 1 - step : step;
      sizes[std::size_t(axis)] = Index(tensor.dimensions()[std::size_t(axis)]);
      strides[std::size_t(axis)] = stride;
      stride *= sizes[std::size_t(axis)];
    }
  }
};

namespace detail {
template <class T, int Rank>
View<T, Rank> as_view(const View<T, Rank>& view) {
  return view;
}
template <class T, int Rank, int Layout, class I>
View<T, Rank> as_view(Eigen::Tensor<T, Rank, Layout, I>& tensor) {
  return tensor;
}
template <class T, int Rank, int Layout, class I>
View<const T, Rank> as_view(const Eigen::Tensor<T, Rank, Layout, I>& tensor) {
  return tensor;
}
template <class T, int Rank, int Layout, class I, int Options>
View<T, Rank> as_view(const Eigen::TensorMap<Eigen::Tensor<T, Rank, Layout, I>, Options>& map) {
  return map;
}
template <class T, int Rank, int Layout, class I, int Options>
View<const T, Rank> as_view(const Eigen::TensorMap<const Eigen::Tensor<T, Rank, Layout, I>, Options>& map) {
  return map;
}
template <class Derived>
inline constexpr int kDenseRank = Derived::IsVectorAtCompileTime ? 1 : 2;
template <class Derived>
requires((Derived::Flags & Eigen::DirectAccessBit) !=
         0) View<const typename Derived::Scalar, kDenseRank<Derived>> as_view(const Eigen::DenseBase<Derived>& dense) {
  return dense;
}
template <class Derived>
requires((Derived::Flags & Eigen::DirectAccessBit) != 0 &&
         (Derived::Flags & Eigen::LvalueBit) !=
             0) View<typename Derived::Scalar, kDenseRank<Derived>> as_view(Eigen::DenseBase<Derived>& dense) {
  return dense;
}
}  // namespace detail

/// Anything that a View can be made of: heed::View, Eigen::Tensor and TensorMap of any layout, and Eigen matrices,
/// maps, blocks and refs; of rank 1 where Eigen's type says that it is a vector, of a row or a column (as a matrix of
/// one row: View<const T, 2>(vector)). An unevaluated Eigen expression is not: evaluate it into a heed::Tensor first.
template <class X>
concept TensorLike = requires(X&& x) {
  detail::as_view(x);
};

/// The view of a tensor, map or matrix.
template <TensorLike X>
auto view(X&& x) {
  return detail::as_view(x);
}

/// The read-only view of a tensor, map or matrix.
template <TensorLike X>
auto const_view(const X& x) {
  const auto v = detail::as_view(x);
  return View<const typename decltype(v)::Scalar, decltype(v)::rank>(v);
}

namespace detail {

template <class X>
inline constexpr bool kOwnsMemory = false;
template <class T, int Rank, int Layout, class I>
inline constexpr bool kOwnsMemory<Eigen::Tensor<T, Rank, Layout, I>> = true;
template <class T, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
inline constexpr bool kOwnsMemory<Eigen::Matrix<T, Rows, Cols, Options, MaxRows, MaxCols>> = true;
template <class T, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
inline constexpr bool kOwnsMemory<Eigen::Array<T, Rows, Cols, Options, MaxRows, MaxCols>> = true;

/// The read-only view of a tensor for an object that keeps it: not of a temporary, whose memory is gone by then.
template <TensorLike X>
auto kept_view(X&& x) {
  static_assert(std::is_lvalue_reference_v<X> || !kOwnsMemory<std::remove_cvref_t<X>>,
                "heed: only a view of this tensor is kept, and it is a temporary: put it in a variable that lives as "
                "long as the attention, and pass that");
  return const_view(x);
}

}  // namespace detail

template <TensorLike X>
using ScalarOf = std::remove_const_t<typename decltype(view(std::declval<X&>()))::Scalar>;
template <TensorLike X>
inline constexpr int kRankOf = decltype(view(std::declval<X&>()))::rank;

}  // namespace HEED_ISA
}  // namespace heed
