// SPDX-License-Identifier: Apache-2.0
// cross_entropy: the mean surprise at the right classes.
#pragma once

#include <cstdint>
#include <optional>

#include "heed/core/operand.hpp"
#include "heed/kernel/softmax_rows.hpp"

namespace heed::inline HEED_ISA {

struct CrossEntropyOptions {
  /// Rows of this target are left out, of the sum and of the count; it need not be a class.
  std::optional<std::int32_t> ignore_index = std::nullopt;
};

namespace detail {

/// The rows of a cross entropy, and which class each of them should be.
template <class UX, int Rank>
struct Classified {
  kernel::Rows<const UX, Rank> logits;
  kernel::Rows<const std::int32_t, Rank - 1> targets;
  CrossEntropyOptions options;
  Index counted = 0;

  Classified(std::string_view where, const View<const UX, Rank>& x, const View<const std::int32_t, Rank - 1>& classes,
             const CrossEntropyOptions& options)
      : logits(x), targets(classes, 0), options(options) {
    require(std::equal(classes.sizes.begin(), classes.sizes.end(), x.sizes.begin()), where,
            "targets must have the axes of logits but the last, ", shape_text(x.sizes), ", got ",
            shape_text(classes.sizes));
    for (Index r = 0; r < logits.count(); ++r) {
      if (ignored(r)) continue;
      ++counted;
      require(target(r) >= 0 && target(r) < logits.width(), where, "target ", target(r), " (number ", r,
              ") is outside of the classes 0 .. ", logits.width() - 1);
    }
  }

  std::int32_t target(Index row) const { return *targets.row(row); }
  bool ignored(Index row) const { return options.ignore_index && target(row) == *options.ignore_index; }
  Index band() const { return std::max<Index>(1, 4096 / std::max<Index>(1, logits.width())); }  // a few microseconds
  Index bands() const { return (logits.count() + band() - 1) / band(); }
};

template <class D, class UX, int Rank, class UO>
void cross_entropy_rows(const D& device, const Classified<UX, Rank>& rows, const View<UO, 1>& out) {
  using T = heed::Compute<UX>;
  const Index width = rows.logits.width(), count = rows.logits.count();
  ScratchFrame shared;
  T* const losses = shared.take<T>(count);
  parallel_for(device, rows.bands(), [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    for (Index r = unit * rows.band(); r < std::min(count, (unit + 1) * rows.band()); ++r) {
      losses[r] = T(0);
      if (rows.ignored(r)) continue;
      const T* const row = kernel::packed<T>(rows.logits.row(r), rows.logits.stride(), width, copy);
      const auto total = kernel::exponential_sum(row, width);
      losses[r] = (total.most - row[rows.target(r)]) + std::log(total.sum);
    }
  });
  double sum = 0;
  for (Index r = 0; r < count; ++r) sum += double(losses[r]);
  out(0) = static_cast<UO>(rows.counted == 0 ? 0 : sum / double(rows.counted));
}

template <class D, class UX, int Rank, class UG, class UDX>
void cross_entropy_rows_backward(const D& device, const Classified<UX, Rank>& rows, const View<const UG, 1>& d_out,
                                 const View<UDX, Rank>& d_logits) {
  using T = heed::Compute<UX>;
  if (rows.counted == 0) return;
  const Index width = rows.logits.width(), count = rows.logits.count();
  const T factor = simd::widen<T>(d_out(0)) / T(rows.counted);
  const kernel::Rows to(d_logits);
  parallel_for(device, rows.bands(), [&](Index unit) {
    ScratchFrame frame;
    T* const copy = frame.take<T>(width);
    T* const made = frame.take<T>(width);
    for (Index r = unit * rows.band(); r < std::min(count, (unit + 1) * rows.band()); ++r) {
      if (rows.ignored(r)) continue;
      const T* const row = kernel::packed<T>(rows.logits.row(r), rows.logits.stride(), width, copy);
      T* const sum = kernel::packed_sum<T>(to.row(r), to.stride(), width, made);
      kernel::log_sum_backward(row, width, kernel::exponential_sum(row, width), factor, sum);
      sum[rows.target(r)] -= factor;
      kernel::put<T>(sum, width, to.row(r), to.stride());
    }
  });
}

}  // namespace detail

/// The mean over rows of -log softmax(logits)[target], in nats: logits (..., V), targets (...) int32, out (1).
///
/// Any rank from 2, strides and storage. No row counted gives 0, and gradient 0. Rows are read once in pieces with a
/// running maximum, so that no logit overflows; the mean is taken in double. Throws heed::Error, before anything is
/// written, for a target outside of [0, V) and shapes that do not fit. Time O(rows * V); the same bits for any device.
/// Gradient: to the logits, by cross_entropy_backward; the targets have none.
template <Device D, TensorLike X, TensorLike Y, TensorLike O>
void cross_entropy(const D& device, const X& logits, const Y& targets, const CrossEntropyOptions& options, O&& out) {
  static_assert(std::same_as<ScalarOf<Y>, std::int32_t>, "heed::cross_entropy: targets must hold std::int32_t");
  static_assert(kRankOf<X> >= 2 && kRankOf<Y> == kRankOf<X> - 1,
                "heed::cross_entropy: logits are (..., V) and targets (...)");
  require_shape("cross_entropy", "out", view(out).sizes, std::array<Index, 1>{1});
  const detail::Classified rows("cross_entropy", const_view(logits), const_view(targets), options);
  detail::cross_entropy_rows(device, rows, view(out));
}
template <Device D, Operand X, TensorLike Y>
auto cross_entropy(const D& device, const X& logits, const Y& targets, const CrossEntropyOptions& options = {}) {
  auto out = make_output<Compute<OperandScalar<X>>, 1>("cross_entropy", {1}, logits);
  cross_entropy(device, logits, targets, options, out);
  return out;
}
template <Operand X, TensorLike Y>
auto cross_entropy(const X& logits, const Y& targets, const CrossEntropyOptions& options = {}) {
  return cross_entropy(DeviceRef(), logits, targets, options);
}

/// Adds d_out (1) times the gradient, (softmax(logits) - one_hot(target)) / rows counted, to d_logits; nothing if it
/// has no data. The sums of exponentials are computed again.
template <Device D, TensorLike X, TensorLike Y, TensorLike G, TensorLike DX>
void cross_entropy_backward(const D& device, const X& logits, const Y& targets, const CrossEntropyOptions& options,
                            const G& d_out, DX&& d_logits) {
  const auto sum = view(d_logits);
  if (!sum.data) return;
  require_shape("cross_entropy_backward", "d_out", const_view(d_out).sizes, std::array<Index, 1>{1});
  require_shape("cross_entropy_backward", "d_logits", sum.sizes, const_view(logits).sizes);
  const detail::Classified rows("cross_entropy_backward", const_view(logits), const_view(targets), options);
  detail::cross_entropy_rows_backward(device, rows, const_view(d_out), sum);
}

}  // namespace heed::inline HEED_ISA
