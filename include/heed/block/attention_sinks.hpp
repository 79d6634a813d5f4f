// SPDX-License-Identifier: Apache-2.0
// Sink tokens of a sequence, and attention taken from them.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "heed/core/operand.hpp"
#include "heed/kernel/row_access.hpp"

namespace heed::inline HEED_ISA {

/// 1 for the tokens j of hidden (L, C) whose max over `dims` of |hidden_j / sqrt(mean of hidden_j^2 + 1e-6)| is above
/// tau. In double. Throws heed::Error for a channel that is not there.
///
/// No gradient: a choice has none.
template <TensorLike X>
Tensor<std::uint8_t, 1> sink_mask(const X& hidden, std::span<const Index> dims, double tau) {
  const auto x = const_view(hidden);
  for (const Index dim : dims)
    require(dim >= 0 && dim < x.size(1), "sink_mask", "channel ", dim, " is none of ", x.size(1));
  Tensor<std::uint8_t, 1> mask(x.size(0));
  for (Index j = 0; j < x.size(0); ++j) {
    double square = 0, most = 0;
    for (Index c = 0; c < x.size(1); ++c) square += double(x(j, c)) * double(x(j, c));
    for (const Index dim : dims) most = std::max(most, std::abs(double(x(j, dim))));
    mask(j) = most / std::sqrt(square / double(x.size(1)) + 1e-6) > tau;
  }
  return mask;
}

/// How redistribute_sinks chooses rows and what it takes.
struct SinkRedistribution {
  double rho = 0.5;   ///< a row is edited whose visual sinks have at most this part of its attention to the image,
  double summ = 0.2;  ///< and which gives the image at least this;
  double p = 0.6;     ///< what stays of the weight of a sink
  Index image_start = 0, image_len = 0;
  Index first_row = 0;  ///< rows before it are not edited
};

/// Edits rows of attention weights (.., N, M) in place: every sink keeps p of its weight, and what all of them lose
/// goes to the image tokens that are no sinks, in the ratio of their weights, so that the sum of a row stays. Not
/// edited is a row that misses a condition, or has no weight on those tokens. sinks (L), L <= M. Sums in double; the
/// same bits for any number of threads.
///
/// No gradient: it is for inference.
template <Device D, Real T, int Rank>
void redistribute_sinks(const D& device, const View<T, Rank>& attention, const View<const std::uint8_t, 1>& sinks,
                        const SinkRedistribution& options) {
  const Index begin = options.image_start, end = begin + options.image_len, keys = attention.sizes.back();
  require(begin >= 0 && options.image_len >= 0 && end <= keys && sinks.size(0) <= keys, "redistribute_sinks",
          "the image tokens [", begin, ", ", end, ") and ", sinks.size(0), " hidden states are not among the ", keys,
          " keys");
  const auto sink = [&](Index j) { return j < sinks.size(0) && sinks(j) != 0; };
  bool any = false;
  for (Index j = begin; j < end; ++j) any = any || sink(j);
  if (!any) return;
  const kernel::Rows rows(attention);
  const Index queries = attention.size(Rank - 2);
  parallel_for(device, rows.count(), [&](Index r) {
    if (r % queries < options.first_row) return;
    const auto at = [&](Index j) -> T& { return rows.row(r)[j * rows.stride()]; };
    double of_sinks = 0, of_image = 0, others = 0, lost = 0;
    for (Index j = begin; j < end; ++j) {
      of_image += double(at(j));
      (sink(j) ? of_sinks : others) += double(at(j));
    }
    const double portion = of_sinks / (of_image + 1e-6 * double(options.image_len));
    if (!(portion <= options.rho && of_image >= options.summ && others > 0)) return;
    for (Index j = 0; j < sinks.size(0); ++j)
      if (sink(j)) {
        lost += (1 - options.p) * double(at(j));
        at(j) = T(options.p * double(at(j)));
      }
    const double rise = 1 + lost / others;
    for (Index j = begin; j < end; ++j)
      if (!sink(j)) at(j) = T(rise * double(at(j)));
  });
}

}  // namespace heed::inline HEED_ISA
