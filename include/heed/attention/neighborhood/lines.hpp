// SPDX-License-Identifier: Apache-2.0
// Attention over neighbourhoods line by line: the lanes are neighbouring queries of a line of the grid, and each reads
// keys of its own, so that no pair is computed that is not seen.
#pragma once

#include "heed/attention/neighborhood/strips.hpp"
#include "heed/attention/problem.hpp"
#include "heed/kernel/rows.hpp"
#include "heed/kernel/transpose.hpp"
#include "heed/kernel/window_product.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// One query head of one grid (a residue modulo the dilation): (Z, Y, X, width) of any strides.
template <Real T>
struct LineGrids {
  View<const T, 4> q;
  View<T, 4> out;
  View<T, 3> lse;  // data is null when nobody asked
};

/// The queries of a strip one line of lanes at a time; scores of a few lines at once, which share the keys.
template <Real T>
class LineAttention {
 public:
  LineAttention(const StripPlan<T>& plan, const Strip& strip, T scale, const View<const T, 4>& k,
                const View<const T, 4>& v, ScratchFrame& frame)
      : plan_(plan), strip_(strip), scale_(scale * kernel::kLog2E<T>), width_(k.size(3)), value_width_(v.size(3)) {
    // An odd number of batches: lines a power of two apart would share few places of the cache.
    pitch_ = ((strip.keys[2] + 2 * kLanes - 1) / kLanes | 1) * kLanes;
    const Index lines = strip.key_rows();
    keys_ = frame.take<T>(lines * width_ * pitch_);
    const bool in_place = v.stride(3) == 1 && value_width_ % kLanes == 0;
    const Index padded = kernel::padded<T>(value_width_);
    T* const copy = in_place ? nullptr : frame.take<T>(strip.key_count() * padded);
    // A line is fetched while the one before it is turned: tokens lie apart, and no hardware prefetcher follows them.
    const auto at = [&](const View<const T, 4>& x, Index line) {
      return x.at(strip.key[0] + line / strip.keys[1], strip.key[1] + line % strip.keys[1], strip.key[2]);
    };
    const auto fetch = [&](const View<const T, 4>& x, Index line) {
      if (line < lines) kernel::upcoming(at(x, line), x.stride(2), strip.keys[2], x.size(3)).fetch(0, strip.keys[2]);
    };
    for (Index line = 0; line < lines; ++line) {
      fetch(k, line + 1);
      fetch(v, line);
      kernel::rows_to_lines<T>(at(k, line), k.stride(2), k.stride(3), strip.keys[2], width_, T(1),
                               keys_ + line * width_ * pitch_, pitch_);
      if (copy)
        kernel::copy_rows<T>(at(v, line), v.stride(2), v.stride(3), strip.keys[2], value_width_,
                             copy + line * strip.keys[2] * padded, padded);
    }
    values_ = in_place ? v.at(strip.key[0], strip.key[1], strip.key[2]) : copy;
    value_steps_ = in_place
                       ? std::array<Index, 3>{v.stride(0), v.stride(1), v.stride(2)}
                       : std::array<Index, 3>{strip.keys[1] * strip.keys[2] * padded, strip.keys[2] * padded, padded};
    queries_ = frame.take<T>(kLines * width_ * kLanes);
    most_ = plan.axis(0).kernel * plan.axis(1).kernel * plan.axis(2).kernel;
    scores_ = frame.take<T>(kLines * most_ * kLanes);
  }

  void run(const LineGrids<T>& grids) const {
    for (Index z = strip_.query[0]; z < strip_.query[0] + strip_.queries[0]; ++z)
      for (Index y = strip_.query[1]; y < strip_.query[1] + strip_.queries[1]; y += kLines)
        for (Index x = strip_.query[2]; x < strip_.query[2] + strip_.queries[2]; x += kLanes)
          block(grids, {z, y, x}, int(std::min<Index>(kLines, strip_.query[1] + strip_.queries[1] - y)),
                std::min<Index>(kLanes, strip_.query[2] + strip_.queries[2] - x));
  }

 private:
  using Batch = simd::Batch<T>;
  static constexpr Index kLanes = simd::kLanes<T>;
  static constexpr int kLines = kernel::kWindowLines;

  // `lines` lines of `lanes` queries, from `first` on.
  void block(const LineGrids<T>& grids, const std::array<Index, 3>& first, int lines, Index lanes) const {
    const auto [z, y, x] = first;
    const NeighborAxis &planes_of = plan_.axis(0), &lines_of = plan_.axis(1), &columns_of = plan_.axis(2);
    const Index beyond = std::min(kLanes, strip_.query[2] + strip_.queries[2] - x - lanes);
    for (int r = 0; r < lines; ++r) {
      const T* const q = grids.q.at(z, y + r, x);
      kernel::rows_to_lines<T>(q, grids.q.stride(2), grids.q.stride(3), lanes, width_, scale_,
                               queries_ + r * width_ * kLanes, kLanes);
      kernel::upcoming(q + lanes * grids.q.stride(2), grids.q.stride(2), beyond, width_).fetch(0, beyond);
    }
    // Where the neighbours of each lane begin; those beyond the last query repeat it.
    const Index left = columns_of.begin(x);
    alignas(64) simd::IndexLane<T> from[kLanes];
    Index starts[kLanes];
    for (Index i = 0; i < kLanes; ++i) {
      const Index begin = columns_of.begin(x + std::min(i, lanes - 1));
      from[i] = simd::IndexLane<T>(begin - left);
      starts[i] = (begin - strip_.key[2]) * value_steps_[2];
    }
    const auto places = simd::IndexBatch<T>::load_aligned(from);
    const Index span = columns_of.kernel, z_begin = planes_of.begin(z), z_end = planes_of.end(z);

    Batch highest[kLines];
    for (Batch& top : highest) top = Batch(-std::numeric_limits<T>::infinity());
    int begin = 0, end = 0;  // the lines that see a line of keys
    for (Index ky = lines_of.begin(y); ky < lines_of.end(y + lines - 1); ++ky) {
      while (end < lines && lines_of.begin(y + end) <= ky) ++end;
      while (begin < end && lines_of.end(y + begin) <= ky) ++begin;
      if (begin == end) continue;
      for (Index kz = z_begin; kz < z_end; ++kz) {
        T* to[kLines];
        for (int r = begin; r < end; ++r) {
          const Index from_line = lines_of.begin(y + r);
          const Index line = (kz - z_begin) * (lines_of.end(y + r) - from_line) + ky - from_line;
          to[r - begin] = scores_ + (r * most_ + line * span) * kLanes;
        }
        const Index line = (kz - strip_.key[0]) * strip_.keys[1] + ky - strip_.key[1];
        kernel::window_dot<T>(queries_ + begin * width_ * kLanes, end - begin,
                              keys_ + line * width_ * pitch_ + left - strip_.key[2], pitch_, width_, places, span, to,
                              highest + begin);
      }
    }

    for (int r = 0; r < lines; ++r) {
      const Index ky = lines_of.begin(y + r), line_count = lines_of.end(y + r) - ky;
      const kernel::WindowRows rows{z_end - z_begin, line_count,      span,
                                    value_steps_[0], value_steps_[1], value_steps_[2]};
      T* const weights = scores_ + r * most_ * kLanes;
      alignas(64) T factor[kLanes];
      softmax(weights, rows.planes * rows.lines * span, highest[r], factor,
              grids.lse.data ? grids.lse.at(z, y + r, x) : nullptr, grids.lse.stride(2), lanes);
      const T* const values =
          values_ + (z_begin - strip_.key[0]) * value_steps_[0] + (ky - strip_.key[1]) * value_steps_[1];
      for (Index i = 0; i < lanes; i += kernel::kWindowQueries)
        mix(weights + i, values, rows, starts + i, factor + i, std::min<Index>(kernel::kWindowQueries, lanes - i),
            grids.out.at(z, y + r, x + i), grids.out.stride(2), grids.out.stride(3));
    }
  }

  // Scores to weights; what makes their sum 1, and the log-sum-exp where it is wanted.
  static void softmax(T* scores, Index count, Batch highest, T* factor, T* lse, Index lse_step, Index lanes) {
    const Batch none(-std::numeric_limits<T>::infinity()), zero(T(0));
    const Batch shift = simd::select(highest == none, zero, highest);
    Batch sums[2] = {zero, zero};
    Index n = 0;
    for (; n + 2 <= count; n += 2)
      for (int s = 0; s < 2; ++s) {
        T* const at = scores + (n + s) * kLanes;
        const Batch p = kernel::power<kernel::Base::kTwo, T>(simd::load_aligned(at) - shift);
        sums[s] = sums[s] + p;
        p.store_aligned(at);
      }
    for (; n < count; ++n) {
      const Batch p = kernel::power<kernel::Base::kTwo, T>(simd::load_aligned(scores + n * kLanes) - shift);
      sums[0] = sums[0] + p;
      p.store_aligned(scores + n * kLanes);
    }
    const Batch sum = sums[0] + sums[1];
    simd::select(sum == zero, zero, Batch(T(1)) / sum).store_aligned(factor);
    if (!lse) return;
    alignas(64) T m[kLanes], l[kLanes];
    highest.store_aligned(m);
    sum.store_aligned(l);
    for (Index i = 0; i < lanes; ++i)
      lse[i * lse_step] = finish_row<kernel::Base::kTwo, T>({m[i], l[i]}, -std::numeric_limits<T>::infinity()).lse;
  }

  void mix(const T* weights, const T* values, const kernel::WindowRows& rows, const Index* starts, const T* factor,
           Index queries, T* out, Index step, Index inner) const {
    constexpr Index most = kernel::kPanelWidth<T>;
    alignas(64) T strided[kernel::kWindowQueries * most];
    for (Index c = 0; c < value_width_; c += most) {
      const Index columns = std::min(most, value_width_ - c);
      const kernel::WindowTarget<T> to = inner == 1 ? kernel::WindowTarget<T>{out + c, step, queries, columns}
                                                    : kernel::WindowTarget<T>{strided, most, queries, columns};
      kernel::with_batches(int((columns + kLanes - 1) / kLanes),
                           [&]<int NV>() { kernel::window_mix<NV, T>(weights, values + c, rows, starts, factor, to); });
      for (Index i = 0; i < queries && inner != 1; ++i)
        for (Index e = 0; e < columns; ++e) out[i * step + (c + e) * inner] = strided[i * most + e];
    }
  }

  const StripPlan<T>& plan_;
  const Strip& strip_;
  T scale_;
  Index width_, value_width_, pitch_ = 0, most_ = 0;
  T *keys_, *queries_, *scores_;
  const T* values_;
  std::array<Index, 3> value_steps_;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA
