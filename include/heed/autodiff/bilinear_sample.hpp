// SPDX-License-Identifier: Apache-2.0
// bilinear_sample of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/bilinear_sample.hpp"

namespace heed::inline HEED_ISA {

/// bilinear_sample into a variable that nothing has read yet; a tensor beside it is a parameter.
template <Device D, Operand M, Operand P, Recorded O>
void bilinear_sample(const D& device, const M& map_like, const P& points_like, const O& out) {
  auto& tape = tape_of("bilinear_sample", out);
  const auto map = tape.operand(map_like);
  const auto points = tape.operand(points_like);
  bilinear_sample(DeviceRef(device), map.value(), points.value(), tape.written(out));
  tape.on_backward(out, [&tape, map, points, out] {
    bilinear_sample_backward(tape.device(), map.value(), points.value(), tape.gradient(out), tape.accumulate(map),
                             tape.accumulate(points));
  });
}

}  // namespace heed::inline HEED_ISA
