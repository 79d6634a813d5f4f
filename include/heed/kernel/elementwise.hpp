// SPDX-License-Identifier: Apache-2.0
// Functions of elements over views of any strides, written, added, or summed over axes.
#pragma once

#include "heed/core/device.hpp"
#include "heed/kernel/write.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

namespace detail {

/// Columns that a unit of work holds sums of.
inline constexpr Index kSumColumns = 256;
/// Terms that are summed one after the other before they join the total: an error of (128 + n / 128) eps for n.
inline constexpr Index kSumRun = 128;
/// Elements that make a unit of work worth its scheduling.
inline constexpr Index kElementwiseGrain = 16384;

template <std::size_t N>
struct LoopAxis {
  Index size = 1;
  std::array<Index, N> strides{};  // of the output, then of the inputs
};

/// The loops over N views of one shape: axes of size 1 left out, and neighbours that lie as one in all of them merged.
/// The last axis is the inner one; the others are the output's own (kept) and those it is summed over (reduced).
template <int Rank, std::size_t N>
struct LoopNest {
  using Axes = std::array<LoopAxis<N>, std::size_t(Rank) + 1>;
  LoopAxis<N> inner;
  Axes kept, reduced;
  std::size_t kept_axes = 0, reduced_axes = 0;
  Index kept_count = 1, reduced_count = 1;

  LoopNest(const std::array<Index, std::size_t(Rank)>& sizes,
           const std::array<std::array<Index, std::size_t(Rank)>, N>& strides) {
    Axes axes;
    std::size_t count = 0;
    for (std::size_t a = 0; a < std::size_t(Rank); ++a) {
      if (sizes[a] == 1) continue;
      LoopAxis<N> axis{sizes[a], {}};
      for (std::size_t x = 0; x < N; ++x) axis.strides[x] = strides[x][a];
      bool merges = count > 0;
      for (std::size_t x = 0; merges && x < N; ++x) merges = axes[count - 1].strides[x] == axis.size * axis.strides[x];
      if (merges) {
        axis.size *= axes[count - 1].size;
        axes[count - 1] = axis;
      } else {
        axes[count++] = axis;
      }
    }
    if (count > 0) inner = axes[--count];
    for (std::size_t a = 0; a < count; ++a) {
      if (axes[a].strides[0] == 0) {
        reduced[reduced_axes++] = axes[a];
        reduced_count *= axes[a].size;
      } else {
        kept[kept_axes++] = axes[a];
        kept_count *= axes[a].size;
      }
    }
  }

  /// Where the views are at a row-major position of some axes.
  static std::array<Index, N> offsets(const Axes& axes, std::size_t count, Index position) {
    std::array<Index, N> offset{};
    while (count-- > 0) {
      const Index at = position % axes[count].size;
      position /= axes[count].size;
      for (std::size_t x = 0; x < N; ++x) offset[x] += at * axes[count].strides[x];
    }
    return offset;
  }
};

template <Real T, class U>
HEED_INLINE void store_strided(simd::Batch<T> x, U* address, Index stride, Index count) {
  if (stride == 1) {
    simd::store_partial<T>(x, address, std::min<Index>(count, simd::kLanes<T>));
    return;
  }
  alignas(64) T lanes[simd::kLanes<T>];
  x.store_aligned(lanes);
  for (Index i = 0; i < std::min<Index>(count, simd::kLanes<T>); ++i) address[i * stride] = static_cast<U>(lanes[i]);
}

}  // namespace detail

/// out = f(x...) or, with Write::kAdd, out += f(x...), element by element: f takes and gives simd::Batch<T>. All views
/// have the shape of out and any strides, 0 for what is broadcast. Where `out` itself has stride 0 on an axis, which is
/// for kAdd alone, the results are summed over that axis: in runs of 128 in row-major order, whatever the number of
/// threads. out may be one of the inputs, but not overlap them otherwise.
template <Write write, Real T, class D, class F, class UO, int Rank, class... U>
void elementwise(const D& device, const F& f, const View<UO, Rank>& out, const View<const U, Rank>&... x) {
  using Batch = simd::Batch<T>;
  constexpr Index w = simd::kLanes<T>;
  constexpr std::size_t n = 1 + sizeof...(U);
  if (out.count() == 0) return;
  const detail::LoopNest<Rank, n> loops(out.sizes, {out.strides, x.strides...});
  const auto& inner = loops.inner;
  const auto& inner_strides = inner.strides;
  const bool sums_rows = inner.strides[0] == 0 && inner.size > 1;

  // f of `count` lanes from column c of the row at `at`.
  const auto evaluate = [&](const std::array<Index, n>& at, Index c, Index count) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return Batch(
          f(simd::load_strided<T>(x.data + at[I + 1] + c * inner_strides[I + 1], inner_strides[I + 1], count)...));
    }
    (std::make_index_sequence<n - 1>());
  };
  const auto row_of = [&](std::array<Index, n> at, Index r) {
    if (r == 0) return at;
    const auto more = loops.offsets(loops.reduced, loops.reduced_axes, r);
    for (std::size_t i = 0; i < n; ++i) at[i] += more[i];
    return at;
  };
  const auto put = [&](Batch value, UO* address, Index stride, Index count) {
    if constexpr (write == Write::kAdd) value = simd::load_strided<T>(address, stride, count) + value;
    detail::store_strided<T>(value, address, stride, count);
  };

  const Index width = sums_rows ? inner.size : std::min(inner.size, detail::kSumColumns);
  const Index blocks = (inner.size + width - 1) / width, cells = loops.kept_count * blocks;
  const Index together = std::max<Index>(1, detail::kElementwiseGrain / (width * loops.reduced_count));
  parallel_for(device, (cells + together - 1) / together, [&](Index unit) {
    for (Index cell = unit * together; cell < std::min(cells, (unit + 1) * together); ++cell) {
      const auto at = loops.offsets(loops.kept, loops.kept_axes, cell / blocks);
      const Index first = cell % blocks * width, columns = std::min(width, inner.size - first);
      if (!sums_rows && loops.reduced_count == 1) {
        for (Index c = first; c < first + columns; c += w)
          put(evaluate(at, c, first + columns - c), out.data + at[0] + c * inner_strides[0], inner_strides[0],
              first + columns - c);
      } else if constexpr (write == Write::kAdd) {
        alignas(64) T total[detail::kSumColumns] = {};
        UO* const target = out.data + at[0];
        Index terms = 0;
        if (sums_rows) {
          // Four sums at a time hide the latency of the addition.
          Batch part[4] = {Batch(T(0)), Batch(T(0)), Batch(T(0)), Batch(T(0))};
          const auto join = [&] {
            (simd::load_aligned(total) + ((part[0] + part[1]) + (part[2] + part[3]))).store_aligned(total);
            for (Batch& p : part) p = Batch(T(0));
            terms = 0;
          };
          for (Index r = 0; r < loops.reduced_count; ++r) {
            const auto row = row_of(at, r);
            Index c = 0;
            for (; c + 4 * w <= columns; c += 4 * w) {
#pragma GCC unroll 4
              for (int i = 0; i < 4; ++i) part[i] = part[i] + evaluate(row, c + i * w, w);
              if ((terms += 4) >= detail::kSumRun) join();
            }
            for (; c < columns; c += w) {
              // The lanes of a batch are partial sums; those that do not exist must not count.
              Batch value = evaluate(row, c, columns - c);
              if (columns - c < w) {
                alignas(64) T lanes[w];
                value.store_aligned(lanes);
                value = simd::load_partial<T>(lanes, columns - c);
              }
              part[0] = part[0] + value;
              if (++terms >= detail::kSumRun) join();
            }
          }
          join();
          *target = static_cast<UO>(simd::widen<T>(*target) + simd::reduce_add<T>(simd::load_aligned(total)));
        } else {
          alignas(64) T run[detail::kSumColumns] = {};
          const auto join = [&] {
            for (Index c = 0; c < detail::kSumColumns; ++c) total[c] += run[c];
            std::fill_n(run, detail::kSumColumns, T(0));
            terms = 0;
          };
          for (Index r = 0; r < loops.reduced_count; ++r) {
            const auto row = row_of(at, r);
            for (Index c = 0; c < columns; c += w)
              (simd::load_aligned(run + c) + evaluate(row, first + c, columns - c)).store_aligned(run + c);
            if (++terms == detail::kSumRun) join();
          }
          join();
          for (Index c = 0; c < columns; c += w)
            put(simd::load_aligned(total + c), target + (first + c) * inner_strides[0], inner_strides[0], columns - c);
        }
      }
    }
  });
}

/// out += factor * x for one row of `count` elements.
template <Real T>
void add_multiple(T factor, const T* x, Index x_stride, Index count, T* out, Index out_stride) {
  constexpr Index w = simd::kLanes<T>;
  const simd::Batch<T> by(factor);
  for (Index c = 0; c < count; c += w) {
    T* const address = out + c * out_stride;
    const auto sum = simd::fma(by, simd::load_strided<T>(x + c * x_stride, x_stride, count - c),
                               simd::load_strided<T>(address, out_stride, count - c));
    detail::store_strided<T>(sum, address, out_stride, count - c);
  }
}

/// out = x, or out += x summed over the axes on which out has stride 0.
template <Write write, class D, class UO, class U, int Rank>
void copy(const D& device, const View<U, Rank>& x, const View<UO, Rank>& out) {
  using T = Compute<std::remove_const_t<UO>>;
  elementwise<write, T>(
      device, [](auto value) { return value; }, out, View<const std::remove_const_t<U>, Rank>(x));
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
