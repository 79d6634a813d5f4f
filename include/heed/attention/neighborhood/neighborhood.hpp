// SPDX-License-Identifier: Apache-2.0
// attend_neighborhoods: the fused attention over the neighbourhoods of a grid, strip by strip, and its gradient.
#pragma once

#include <vector>

#include "heed/attention/backward.hpp"
#include "heed/attention/mask/extra_keys.hpp"
#include "heed/attention/neighborhood/lines.hpp"
#include "heed/attention/neighborhood/strips.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/kernel/panel.hpp"

namespace heed::inline HEED_ISA {

/// Windows of neighbours, one number for each axis.
struct Neighborhoods {
  std::array<Index, 3> kernel{1, 1, 1};    ///< keys, 1 or more
  std::array<Index, 3> dilation{1, 1, 1};  ///< positions from key to key; kernel * dilation <= size of the axis
  std::array<Index, 3> stride{1, 1, 1};    ///< queries that share a window, 1 .. kernel
  std::array<bool, 3> causal{};
  double scale = 1;  ///< of q.k
};

/// The tensors of an attention over neighbourhoods, or their gradients. A view of null data is not there.
template <class U>
struct NeighborhoodTensors {
  View<U, 6> q;                 // (B, Z, Y, X, H, D)
  View<U, 6> k, v;              // (B, Z, Y, X, Hk, D) and (.., Dv)
  View<U, 4> k_extra, v_extra;  // (B, M, Hk, D) and (.., Dv)
  View<U, 4> rpb;               // (H, 2 kz - 1, 2 ky - 1, 2 kx - 1)
};

namespace detail {

/// (B, Z, Y, X, H) as a grid of width 1.
template <class U>
View<U, 6> with_width(const View<U, 5>& x) {
  const auto [b, z, y, c, h] = x.strides;
  return {x.data, {x.size(0), x.size(1), x.size(2), x.size(3), x.size(4), 1}, {b, z, y, c, h, 1}};
}

/// One strip of one key head: where its tensors lie packed, and what moves them there and back.
template <Real T>
class StripWork {
 public:
  StripWork(const Neighborhoods& options, const NeighborhoodTensors<const T>& x, const std::array<Index, 3>& residue,
            const StripPlan<T>& plan, const Strip& strip, ScratchFrame& frame)
      : options_(options), x_(x), residue_(residue), plan_(plan), strip_(strip), rule_(plan, strip, frame) {}

  Index queries() const { return strip_.query_count(); }
  Index own_keys() const { return strip_.key_count(); }
  Index keys() const { return own_keys() + (x_.k_extra.data ? x_.k_extra.size(1) : 0); }

  /// Calls f(row of the strip, rows from one to the next, first element in the grid, elements from one to the next,
  /// count) for runs along the last axis of a tensor of the grid (B, Z, Y, X, heads, width): in the order of memory,
  /// which a copy by columns would cross (2.5 times slower).
  template <class U, class F>
  void for_runs(const View<U, 6>& grid, Index b, Index head, bool of_keys, F&& f) const {
    const auto& first = of_keys ? strip_.key : strip_.query;
    const auto& count = of_keys ? strip_.keys : strip_.queries;
    std::array<Index, 3> start, step;
    for (std::size_t a = 0; a < 3; ++a) {
      start[a] = residue_[a] + first[a] * options_.dilation[a];
      step[a] = grid.stride(int(a) + 1) * options_.dilation[a];
    }
    U* const origin = grid.at(b, start[0], start[1], start[2], head);
    const Index rows = count[0] * count[1];
    for (Index row = 0; row < rows; ++row)
      f(row, rows, origin + row / count[1] * step[0] + row % count[1] * step[1], step[2], count[2]);
  }

  void pack(const View<const T, 6>& grid, Index b, Index head, bool of_keys, T* rows) const {
    const Index width = grid.size(5);
    const T* last = nullptr;
    Index last_row = 0;
    // One run is fetched while the one before it is copied: heads lie apart, and no hardware prefetcher follows them.
    Index pitch = 0, step = 0, count = 0;
    const auto copy = [&] {
      kernel::copy_rows<T>(last, step, grid.stride(5), count, width, rows + last_row * width, pitch * width);
    };
    for_runs(grid, b, head, of_keys, [&](Index row, Index rows_apart, const T* from, Index stride, Index length) {
      pitch = rows_apart, step = stride, count = length;
      kernel::upcoming(from, step, count, width).fetch(0, count);
      if (last) copy();
      last = from;
      last_row = row;
    });
    if (last) copy();
  }
  /// Keys or values, the extra ones behind them.
  void pack(const View<const T, 6>& grid, const View<const T, 4>& extra, Index b, Index head, T* rows) const {
    const Index width = grid.size(5);
    pack(grid, b, head, true, rows);
    if (extra.data)
      kernel::copy_rows<T>(extra.at(b, 0, head), extra.stride(1), extra.stride(3), extra.size(1), width,
                           rows + own_keys() * width, width);
  }
  void unpack(const T* rows, Index b, Index head, const View<T, 6>& grid) const {
    const Index width = grid.size(5), inner = grid.stride(5);
    for_runs(grid, b, head, false, [&](Index row, Index pitch, T* to, Index step, Index count) {
      if (inner == 1 || width == 1) {
        kernel::copy_rows<T>(rows + row * width, pitch * width, 1, count, width, to, step);
      } else {
        for (Index r = 0; r < count; ++r)
          for (Index d = 0; d < width; ++d) to[r * step + d * inner] = rows[(row + r * pitch) * width + d];
      }
    });
  }
  void add(const T* rows, Index b, Index head, bool of_keys, const View<T, 6>& grid) const {
    const Index width = grid.size(5);
    for_runs(grid, b, head, of_keys, [&](Index row, Index pitch, T* to, Index step, Index count) {
      kernel::add_rows<T>(rows + row * width, pitch * width, count, width, T(1), to, step, grid.stride(5));
    });
  }
  void add(const T* rows, Index b, Index head, const View<T, 6>& grid, const View<T, 4>& extra) const {
    const Index width = grid.size(5);
    if (grid.data) add(rows, b, head, true, grid);
    if (extra.data)
      kernel::add_rows<T>(rows + own_keys() * width, width, extra.size(1), width, T(1), extra.at(b, 0, head),
                          extra.stride(1), extra.stride(3));
  }

  /// Calls f(element of the table, query, key) for every pair that is seen.
  template <class U, class F>
  void for_pairs(const View<U, 4>& rpb, Index head, F&& f) const {
    const auto position = [](const std::array<Index, 3>& first, const std::array<Index, 3>& count, Index at,
                             Index row) {
      return std::array<Index, 3>{first[0] + row / count[1], first[1] + row % count[1], first[2] + at};
    };
    for (Index i = 0; i < queries(); ++i) {
      const auto query = position(strip_.query, strip_.queries, i / strip_.query_rows(), i % strip_.query_rows());
      for (Index j = rule_.first_key(i); j <= rule_.last_key(i); ++j) {
        if (!rule_.sees(i, j)) continue;
        const auto key = position(strip_.key, strip_.keys, j / strip_.key_rows(), j % strip_.key_rows());
        f(*rpb.at(head, key[0] - query[0] + options_.kernel[0] - 1, key[1] - query[1] + options_.kernel[1] - 1,
                  key[2] - query[2] + options_.kernel[2] - 1),
          i, j);
      }
    }
  }

  /// The biases of the group's heads, (group, N, M); 0 where nothing is seen.
  View<const T, 3> biases(Index kv_head, Index group, ScratchFrame& frame) const {
    const View<T, 3> result(frame.take<T>(group * queries() * keys()), {group, queries(), keys()});
    std::fill_n(result.data, result.count(), T(0));
    for (Index g = 0; g < group; ++g)
      for_pairs(x_.rpb, kv_head * group + g, [&](const T& bias, Index i, Index j) { result(g, i, j) = bias; });
    return result;
  }

  /// Calls f(attention, gradient of its biases or none) for the one that fits.
  template <class F>
  void with_attention(Index kv_head, Index group, ScratchFrame& frame, F&& f) const {
    const SoftmaxOptions common{.scale = options_.scale, .position_offset = 0};
    const auto rule = with_extra_keys(rule_, own_keys());
    if (!x_.rpb.data) {
      f(softmax_attention(rule, common), View<const T, 3>());
    } else {
      const View<const T, 3> pairs = biases(kv_head, group, frame);
      f(softmax_attention(bias(pairs), rule, common), pairs);
    }
  }

 private:
  const Neighborhoods& options_;
  const NeighborhoodTensors<const T>& x_;
  std::array<Index, 3> residue_;
  const StripPlan<T>& plan_;
  const Strip& strip_;
  StripRule<T> rule_;
};

/// The grids of one residue modulo the dilation each, which do not see each other, cut into strips.
template <Real T>
class ResidueGrids {
 public:
  enum class Of { kBoxes, kLines };

  ResidueGrids(const Neighborhoods& options, const std::array<Index, 6>& q, Of of = Of::kBoxes) : options_(options) {
    for (Index index = 0; index < count(); ++index) {
      if (of == Of::kLines) {
        plans_.emplace_back(axes(options, q, residue(index)), q[5]);
      } else {
        plans_.emplace_back(axes(options, q, residue(index)));
      }
      starts_.push_back(strips_);
      strips_ += plans_.back().size();
    }
  }

  static std::array<NeighborAxis, 3> axes(const Neighborhoods& options, const std::array<Index, 6>& q,
                                          const std::array<Index, 3>& at) {
    std::array<NeighborAxis, 3> result;
    for (std::size_t a = 0; a < 3; ++a) {
      const Index step = options.dilation[a];
      result[a] = {(q[a + 1] - at[a] + step - 1) / step, options.kernel[a], options.stride[a], options.causal[a]};
    }
    return result;
  }
  Index count() const { return options_.dilation[0] * options_.dilation[1] * options_.dilation[2]; }
  Index strips() const { return strips_; }
  std::array<Index, 3> residue(Index grid) const {
    return {grid / options_.dilation[2] / options_.dilation[1], grid / options_.dilation[2] % options_.dilation[1],
            grid % options_.dilation[2]};
  }
  /// Calls f(residue, plan, strip) for strip number `index` of all.
  template <class F>
  void with_strip(Index index, F&& f) const {
    const auto grid = std::size_t(std::upper_bound(starts_.begin(), starts_.end(), index) - starts_.begin()) - 1;
    f(residue(Index(grid)), plans_[grid], plans_[grid][index - starts_[grid]]);
  }

 private:
  const Neighborhoods& options_;
  std::vector<StripPlan<T>> plans_;
  std::vector<Index> starts_;
  Index strips_ = 0;
};

/// Line by line, for neighbourhoods without biases and extra keys.
template <Device D, Real T>
void attend_lines(const D& device, const Neighborhoods& options, const NeighborhoodTensors<const T>& x,
                  const View<T, 6>& out, const View<T, 5>& lse) {
  const ResidueGrids<T> grids(options, x.q.sizes, ResidueGrids<T>::Of::kLines);
  const Index kv_heads = x.k.size(4), group = x.q.size(4) / kv_heads;
  // Heads of a strip follow each other: they lie in the same lines of memory.
  parallel_for(device, x.q.size(0) * grids.strips() * kv_heads, [&](Index unit) {
    const Index kv_head = unit % kv_heads, b = unit / kv_heads / grids.strips();
    grids.with_strip(unit / kv_heads % grids.strips(), [&](const auto& residue, const auto& plan, const Strip& strip) {
      const auto grid = [&](const auto& all, Index head) {
        auto one = all.select(4, head).select(0, b);
        for (std::size_t a = 0; a < 3; ++a) {
          one.data += residue[a] * one.strides[a];
          one.strides[a] *= options.dilation[a];
        }
        return one;
      };
      ScratchFrame frame;
      const LineAttention<T> attention(plan, strip, T(options.scale), grid(x.k, kv_head), grid(x.v, kv_head), frame);
      for (Index head = kv_head * group; head < (kv_head + 1) * group; ++head)
        attention.run({grid(x.q, head), grid(out, head), lse.data ? grid(lse, head) : View<T, 3>()});
    });
  });
}

}  // namespace detail

/// Softmax attention of every position of a grid over its neighbourhood, and over the extra keys, which all see. Shapes
/// are as NeighborhoodTensors says, out (B, Z, Y, X, H, Dv), lse (B, Z, Y, X, H) or of null data; the neighbourhoods as
/// NeighborhoodAttention, which checks them. Nothing else is checked here.
///
/// Time O(true pairs) up to the ratio of the keys that a box of queries sees to those that one of them sees (2 for 7 x
/// 7); scratch of one strip a thread. The same bits for any device.
template <Device D, Real T>
void attend_neighborhoods(const D& device, const Neighborhoods& options, const NeighborhoodTensors<const T>& x,
                          const View<T, 6>& out, const View<T, 5>& lse) {
  if (out.count() == 0) return;
  if constexpr (simd::kPermutes<T>) {
    if (!x.rpb.data && x.k_extra.count() == 0 &&
        detail::StripPlan<T>::lines_pay(detail::ResidueGrids<T>::axes(options, x.q.sizes, {})))
      return detail::attend_lines(device, options, x, out, lse);
  }
  const detail::ResidueGrids<T> grids(options, x.q.sizes);
  const Index kv_heads = x.k.size(4), group = x.q.size(4) / kv_heads;
  const auto attend = [&](const DeviceRef& on, Index unit) {
    grids.with_strip(unit % grids.strips(), [&](const auto& residue, const auto& plan, const detail::Strip& strip) {
      const Index b = unit / grids.strips();
      ScratchFrame frame;
      const detail::StripWork<T> work(options, x, residue, plan, strip, frame);
      const Index n = work.queries(), m = work.keys(), width = x.q.size(5), value_width = x.v.size(5);
      const View<T, 3> q(frame.take<T>(group * n * width), {group, n, width});
      const View<T, 3> k(frame.take<T>(m * width), {1, m, width}),
          v(frame.take<T>(m * value_width), {1, m, value_width});
      const View<T, 3> mixed(frame.take<T>(group * n * value_width), {group, n, value_width});
      View<T, 2> sums(lse.data ? frame.take<T>(group * n) : nullptr, {group, n});
      for (Index kv_head = 0; kv_head < kv_heads; ++kv_head) {
        work.pack(x.k, x.k_extra, b, kv_head, k.data);
        work.pack(x.v, x.v_extra, b, kv_head, v.data);
        for (Index g = 0; g < group; ++g) work.pack(x.q, b, kv_head * group + g, false, q.at(g));
        ScratchFrame of_head;
        work.with_attention(kv_head, group, of_head, [&](const auto& attention, const auto&) {
          if (lse.data) {
            attention(on, q, k, v, into(mixed, sums));
          } else {
            attention(on, q, k, v, into(mixed));
          }
        });
        for (Index g = 0; g < group; ++g) {
          work.unpack(mixed.at(g), b, kv_head * group + g, out);
          if (lse.data) work.unpack(sums.at(g), b, kv_head * group + g, detail::with_width(lse));
        }
      }
    });
  };
  const Index units = x.q.size(0) * grids.strips();
  if (units < 2 * thread_count(device)) {
    for (Index unit = 0; unit < units; ++unit) attend(device, unit);
  } else {
    parallel_for(device, units, [&](Index unit) { attend(DeviceRef(), unit); });
  }
}

/// The gradients of attend_neighborhoods, from its results and their cotangents, added to `target`; d_lse may be of
/// null data. Each key head of a batch has its strips taken in their order: the same bits for any device.
template <Device D, Real T>
void attend_neighborhoods_backward(const D& device, const Neighborhoods& options, const NeighborhoodTensors<const T>& x,
                                   const View<const T, 6>& out, const View<const T, 5>& lse,
                                   const View<const T, 6>& d_out, const View<const T, 5>& d_lse,
                                   const NeighborhoodTensors<T>& target) {
  if (out.count() == 0) return;
  const detail::ResidueGrids<T> grids(options, x.q.sizes);
  const Index kv_heads = x.k.size(4), group = x.q.size(4) / kv_heads, batch = x.q.size(0);
  const Index table = x.rpb.data ? x.rpb.count() / x.rpb.size(0) : 0;
  // The gradient of the table by batch and head, added up in the end.
  ScratchFrame shared;
  const View<T, 5> tables(shared.take<T>(batch * x.q.size(4) * table),
                          {batch, x.rpb.size(0), x.rpb.size(1), x.rpb.size(2), x.rpb.size(3)});
  if (target.rpb.data) std::fill_n(tables.data, batch * x.q.size(4) * table, T(0));
  parallel_for(device, batch * kv_heads, [&](Index unit) {
    const Index b = unit / kv_heads, kv_head = unit % kv_heads;
    for (Index s = 0; s < grids.strips(); ++s)
      grids.with_strip(s, [&](const auto& residue, const auto& plan, const detail::Strip& strip) {
        ScratchFrame frame;
        const detail::StripWork<T> work(options, x, residue, plan, strip, frame);
        const Index n = work.queries(), m = work.keys(), width = x.q.size(5), value_width = x.v.size(5);
        const auto rows = [&](Index heads, Index count, Index columns) {
          const View<T, 3> result(frame.take<T>(heads * count * columns), {heads, count, columns});
          std::fill_n(result.data, result.count(), T(0));
          return result;
        };
        const auto q = rows(group, n, width), d_q = rows(group, n, width);
        const auto k = rows(1, m, width), d_k = rows(1, m, width);
        const auto v = rows(1, m, value_width), d_v = rows(1, m, value_width);
        const auto mixed = rows(group, n, value_width), d_mixed = rows(group, n, value_width);
        const auto sums = rows(group, n, 1), d_sums = rows(group, n, 1);
        work.pack(x.k, x.k_extra, b, kv_head, k.data);
        work.pack(x.v, x.v_extra, b, kv_head, v.data);
        for (Index g = 0; g < group; ++g) {
          const Index head = kv_head * group + g;
          work.pack(x.q, b, head, false, q.at(g));
          work.pack(out, b, head, false, mixed.at(g));
          work.pack(d_out, b, head, false, d_mixed.at(g));
          work.pack(detail::with_width(lse), b, head, false, sums.at(g));
          if (d_lse.data) work.pack(detail::with_width(d_lse), b, head, false, d_sums.at(g));
        }
        work.with_attention(kv_head, group, frame, [&](const auto& attention, const View<const T, 3>& biases) {
          const auto d_biases = rows(target.rpb.data ? group : 0, n, m);
          const ParameterGradient<T> parameter{biases.data, d_biases.data};
          const View<const T, 2> of_rows(sums.data, {group, n}), d_of_rows(d_sums.data, {group, n});
          softmax_attention_backward(
              DeviceRef(), attention, q, k, v, mixed, of_rows, d_mixed, d_of_rows.template promote<3>(),
              AttentionGradients<T>{d_q.template promote<4>(), d_k.template promote<4>(), d_v.template promote<4>(),
                                    std::span(&parameter, target.rpb.data ? 1 : 0)});
          if (!target.rpb.data) return;
          for (Index g = 0; g < group; ++g)
            work.for_pairs(tables.select(0, b), kv_head * group + g,
                           [&](T& sum, Index i, Index j) { sum += d_biases(g, i, j); });
        });
        for (Index g = 0; g < group && target.q.data; ++g) work.add(d_q.at(g), b, kv_head * group + g, false, target.q);
        work.add(d_k.data, b, kv_head, target.k, target.k_extra);
        work.add(d_v.data, b, kv_head, target.v, target.v_extra);
      });
  });
  if (!target.rpb.data) return;
  for (Index b = 0; b < batch; ++b)
    kernel::copy<kernel::Write::kAdd>(device, View<const T, 4>(tables.select(0, b)), target.rpb);
}

}  // namespace heed::inline HEED_ISA
