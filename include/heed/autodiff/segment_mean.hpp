// SPDX-License-Identifier: Apache-2.0
// segment_mean of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/segment_mean.hpp"

namespace heed::inline HEED_ISA {

/// segment_mean of a Var. The tape keeps a copy of the segments.
template <Recorded X, TensorLike S>
X segment_mean(const X& x, const S& segments, Index count) {
  auto& tape = tape_of("segment_mean", x);
  const auto kept = tape.keep(const_view(segments));
  const X out = tape.template make<2>({count, x.size(1)});
  segment_mean(x.value(), kept, tape.written(out));
  tape.on_backward(out, [&tape, x, kept, out] { segment_mean_backward(kept, tape.gradient(out), tape.accumulate(x)); });
  return out;
}

}  // namespace heed::inline HEED_ISA
