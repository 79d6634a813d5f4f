// SPDX-License-Identifier: Apache-2.0
// Functions of elements over views of any strides, written, added, or summed over axes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "heed/core/device.hpp"
#include "heed/kernel/loop_nest.hpp"
#include "heed/kernel/write.hpp"
#include "heed/simd/convert.hpp"
#include "heed/simd/reduce.hpp"
#include "heed/simd/stream.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// x itself, and x times a factor: named, so that every copy of one type is the same function.
struct Identity {
  template <class B>
  B operator()(B x) const {
    return x;
  }
};
template <Real T>
struct Multiple {
  T factor;
  simd::Batch<T> operator()(simd::Batch<T> x) const { return simd::Batch<T>(factor) * x; }
};

namespace detail {

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

/// out = f(x...) for whole batches of neighbouring elements; `steps` leads from a batch of x to the next, 0 for one
/// that is the same for all. All that is compiled for each f.
template <Real T, class F, class... U>
void apply_to_batches(const void* f, Index batches, T* out, const void* const* x, const Index* steps) {
  const F function = *static_cast<const F*>(f);
  const auto apply = [&]<std::size_t... I>(std::index_sequence<I...>) {
    const std::array<Index, sizeof...(U)> step{steps[I]...};
    const std::tuple<const U*...> from(static_cast<const U*>(x[I])...);
    for (Index b = 0; b < batches; ++b)
      simd::Batch<T>(function(simd::load_as<T>(std::get<I>(from) + b * step[I])...))
          .store_unaligned(out + b * simd::kLanes<T>);
  };
  apply(std::index_sequence_for<U...>());
}

template <class Word>
void gather_words(const void* from, Index stride, Index count, Index padded, void* to) {
  for (Index i = 0; i < count; ++i)
    std::memcpy(static_cast<Word*>(to) + i, static_cast<const Word*>(from) + i * stride, sizeof(Word));
  std::memset(static_cast<Word*>(to) + count, 0, std::size_t(padded - count) * sizeof(Word));
}

/// `count` elements of `bytes` bytes each, one behind the other, and zeros up to `padded`.
inline void gather_elements(const void* from, Index stride, Index count, Index padded, std::size_t bytes, void* to) {
  if (bytes == 4)
    gather_words<std::uint32_t>(from, stride, count, padded, to);
  else if (bytes == 8)
    gather_words<std::uint64_t>(from, stride, count, padded, to);
  else if (bytes == 2)
    gather_words<std::uint16_t>(from, stride, count, padded, to);
  else
    gather_words<std::uint8_t>(from, stride, count, padded, to);
}

/// `count` times one element of `bytes` bytes.
inline void repeat_element(const void* from, Index count, std::size_t bytes, void* to) {
  const auto repeat = [&]<class Word>(Word word) {
    std::memcpy(&word, from, sizeof word);
    std::fill_n(static_cast<Word*>(to), count, word);
  };
  if (bytes == 4)
    repeat(std::uint32_t());
  else if (bytes == 8)
    repeat(std::uint64_t());
  else if (bytes == 2)
    repeat(std::uint16_t());
  else
    repeat(std::uint8_t());
}

/// A function over views, with their element types forgotten.
template <Real T>
struct ElementwiseCall {
  static constexpr Index w = simd::kLanes<T>;
  using Apply = void (*)(const void* f, Index batches, T* out, const void* const* x, const Index* steps);

  Apply apply;
  const void* f;
  LoopNest loops;
  std::array<const std::byte*, kLoopViews> data{};  // from 1 on, as the strides
  std::array<std::size_t, kLoopViews> bytes{};
  bool strided = false;   // some input's inner stride is neither 0 nor 1
  bool identity = false;  // f gives its only argument, a T, as it is

  /// f along one row of the inner axis, in pieces.
  class Row {
   public:
    Row(const ElementwiseCall& call, const LoopNest::Offsets& at) : call_(call) {
      for (std::size_t x = 1; x < call.loops.views; ++x) {
        const Index stride = call.loops.inner.strides[x];
        from_[x] = call.data[x] + at[x] * Index(call.bytes[x]);
        step_[x] = stride == 0 ? 0 : w;
        if (stride == 0) repeat_element(from_[x], w, call.bytes[x], constant_[x]);
      }
    }

    /// f of `count` elements: where they stand, which is `out` unless they already are somewhere. Whole batches are
    /// written, `count` rounded up, and what is behind it holds anything. With strided inputs at most kSumColumns.
    const T* evaluate(Index first, Index count, T* out) {
      if (call_.identity && count % w == 0 && call_.loops.inner.strides[1] == 1)
        return reinterpret_cast<const T*>(from_[1]) + first;
      const Index whole = count / w, rest = count - whole * w;
      std::array<const void*, kLoopViews> x;
      for (std::size_t i = 1; i < call_.loops.views; ++i) {
        const Index stride = call_.loops.inner.strides[i];
        x[i] = stride == 0 ? constant_[i] : from_[i] + first * stride * Index(call_.bytes[i]);
        if (stride == 0 || stride == 1) continue;
        gather_elements(x[i], stride, count, whole * w + (rest > 0 ? w : 0), call_.bytes[i], gathered_[i]);
        x[i] = gathered_[i];
      }
      if (whole > 0) call_.apply(call_.f, whole, out, x.data() + 1, step_.data() + 1);
      if (rest == 0) return out;
      alignas(64) std::byte last[kLoopViews][kWidest * w];
      for (std::size_t i = 1; i < call_.loops.views; ++i) {
        if (step_[i] == 0) continue;
        x[i] = static_cast<const std::byte*>(x[i]) + whole * w * Index(call_.bytes[i]);
        if (call_.loops.inner.strides[i] != 1) continue;
        gather_elements(x[i], 1, rest, w, call_.bytes[i], last[i]);
        x[i] = last[i];
      }
      call_.apply(call_.f, 1, out + whole * w, x.data() + 1, step_.data() + 1);
      return out;
    }

   private:
    static constexpr Index kWidest = 8;  // bytes of an element

    const ElementwiseCall& call_;
    std::array<const std::byte*, kLoopViews> from_;
    std::array<Index, kLoopViews> step_;
    alignas(64) std::byte constant_[kLoopViews][kWidest * w];
    alignas(64) std::byte gathered_[kLoopViews][kWidest * kSumColumns];
  };

  template <class UO>
  static void put(Write write, const T* values, UO* out, Index stride, Index count) {
    for (Index c = 0; c < count; c += w) {
      simd::Batch<T> value = simd::load(values + c);
      UO* const address = out + c * stride;
      if (write == Write::kAdd) value = simd::load_strided<T>(address, stride, count - c) + value;
      store_strided<T>(value, address, stride, count - c);
    }
  }

  /// The sum of the values of all reduced rows, inner axis included.
  T sum_of_rows(const LoopNest::Offsets& start) const {
    alignas(64) T values[kSumColumns];
    simd::Batch<T> total(T(0)), part[4] = {total, total, total, total};
    Index terms = 0;
    for (Index r = 0; r < loops.reduced.size; ++r) {
      LoopNest::Offsets at = start;
      loops.advance(at, loops.reduced, r);
      Row row(*this, at);
      for (Index first = 0; first < loops.inner.size; first += kSumColumns) {
        const Index count = std::min(kSumColumns, loops.inner.size - first);
        const T* const found = row.evaluate(first, count, values);
        // The lanes of a batch are partial sums; those that do not exist must not count.
        if (count % w != 0) std::fill(values + count, values + (count + w - 1) / w * w, T(0));
        Index c = 0;
        for (; c + 4 * w <= count; c += 4 * w) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) part[i] += simd::load(found + c + i * w);
        }
        for (; c < count; c += w) part[0] += simd::load(found + c);
        if ((terms += (count + w - 1) / w) < 4 * kSumRun) continue;
        total += (part[0] + part[1]) + (part[2] + part[3]);
        for (auto& p : part) p = simd::Batch<T>(T(0));
        terms = 0;
      }
    }
    return simd::reduce_add<T>(total + ((part[0] + part[1]) + (part[2] + part[3])));
  }

  /// The sums of some columns over the reduced rows.
  void sum_columns(const LoopNest::Offsets& start, Index first, Index columns, T* total) const {
    alignas(64) T values[kSumColumns], run[kSumColumns] = {};
    std::fill_n(total, kSumColumns, T(0));
    for (Index r = 0; r < loops.reduced.size; ++r) {
      LoopNest::Offsets at = start;
      loops.advance(at, loops.reduced, r);
      Row row(*this, at);
      const T* const found = row.evaluate(first, columns, values);
      for (Index c = 0; c < columns; c += w)
        (simd::load_aligned(run + c) + simd::load(found + c)).store_aligned(run + c);
      if ((r + 1) % kSumRun != 0 && r + 1 < loops.reduced.size) continue;
      for (Index c = 0; c < kSumColumns; ++c) total[c] += run[c];
      std::fill_n(run, kSumColumns, T(0));
    }
  }

  template <class UO>
  void run(const DeviceRef& device, Write write, UO* out) const {
    const Index size = loops.inner.size, stride = loops.inner.strides[0];
    const bool sums_rows = stride == 0 && size > 1, sums = sums_rows || loops.reduced.count > 0;
    const bool direct = std::same_as<T, UO> && write == Write::kAssign && stride == 1 && !strided && !sums;
    const bool streams = direct && passes_caches(out);
    const Index width = sums_rows ? size : direct ? std::min(size, kElementwiseGrain) : std::min(size, kSumColumns);
    const Index blocks = (size + width - 1) / width, cells = loops.kept.size * blocks;
    const Index together = std::max<Index>(1, kElementwiseGrain / (width * loops.reduced.size));
    parallel_for(device, (cells + together - 1) / together, [&](Index unit) {
      for (Index cell = unit * together; cell < std::min(cells, (unit + 1) * together); ++cell) {
        LoopNest::Offsets at{};
        loops.advance(at, loops.kept, cell / blocks);
        const Index first = cell % blocks * width, columns = std::min(width, size - first);
        UO* const target = out + at[0] + first * stride;
        alignas(64) T values[kSumColumns];
        if (sums_rows) {
          *target = static_cast<UO>(simd::widen<T>(*target) + sum_of_rows(at));
        } else if (sums) {
          sum_columns(at, first, columns, values);
          put(write, values, target, stride, columns);
        } else if (streams) {
          Row row(*this, at);
          for (Index c = 0; c < columns; c += kSumColumns) {
            const Index count = std::min(kSumColumns, columns - c);
            simd::stream(row.evaluate(first + c, count, values), std::size_t(count) * sizeof(T), target + c);
          }
        } else if (direct) {
          if constexpr (std::same_as<T, UO>) {
            Row row(*this, at);
            const Index whole = columns / w * w;
            if (whole > 0) {
              const T* const found = row.evaluate(first, whole, target);
              if (found != target) std::copy_n(found, whole, target);
            }
            if (whole == columns) continue;
            row.evaluate(first + whole, columns - whole, values);
            std::copy_n(values, columns - whole, target + whole);
          }
        } else {
          Row row(*this, at);
          put(write, row.evaluate(first, columns, values), target, stride, columns);
        }
      }
      if (streams) simd::end_streams();
    });
  }

  /// Whether a result goes to memory directly: a large one of whole, aligned rows, none of which is also an input.
  bool passes_caches(const void* out) const {
    const auto whole = [](auto number) { return std::size_t(number) % simd::kStreamAlignment == 0; };
    bool passes = std::size_t(loops.kept.size * loops.inner.size) * sizeof(T) >= kStreamBytes &&
                  whole(reinterpret_cast<std::uintptr_t>(out)) && whole(loops.inner.size * Index(sizeof(T)));
    for (std::size_t a = 0; a < loops.kept.count; ++a)
      passes = passes && whole(loops.kept.axes[a].strides[0] * Index(sizeof(T)));
    for (std::size_t x = 1; x < loops.views; ++x) passes = passes && data[x] != out;
    return passes;
  }
};

}  // namespace detail

/// out = f(x...) or, with Write::kAdd, out += f(x...), element by element: f takes and gives simd::Batch<T>. All views
/// have the shape of out and any strides, 0 for what is broadcast. Where `out` itself has stride 0 on an axis, which is
/// for kAdd alone, the results are summed over that axis: in runs of 128 in row-major order, whatever the number of
/// threads. out may be one of the inputs, but not overlap them otherwise.
template <Write write, Real T, class F, class UO, int Rank, class... U>
void elementwise(const DeviceRef& device, const F& f, const View<UO, Rank>& out, const View<const U, Rank>&... x) {
  if (out.count() == 0) return;
  using Strides = std::array<Index, std::size_t(Rank)>;
  const std::array<Strides, 1 + sizeof...(U)> strides{out.strides, x.strides...};
  detail::ElementwiseCall<T> call{detail::apply_to_batches<T, F, U...>,
                                  &f,
                                  {out.sizes, strides},
                                  {nullptr, reinterpret_cast<const std::byte*>(x.data)...},
                                  {0, sizeof(U)...}};
  call.identity = std::same_as<F, Identity> && (std::same_as<T, U> && ...);
  for (std::size_t i = 1; i <= sizeof...(U); ++i) {
    const Index stride = call.loops.inner.strides[i];
    call.strided = call.strided || (stride != 0 && stride != 1);
  }
  call.run(device, write, out.data);
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
  elementwise<write, T>(device, Identity(), out, View<const std::remove_const_t<U>, Rank>(x));
}

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
