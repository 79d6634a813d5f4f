// SPDX-License-Identifier: Apache-2.0
// bilinear_sample of variables.
#pragma once

#include "heed/autodiff/tape.hpp"
#include "heed/block/bilinear_sample.hpp"

namespace heed::inline HEED_ISA {

/// bilinear_sample where the map or the points are a Var; the other may be a tensor, which is then a parameter.
template <Device D, Operand M, Operand P>
requires AnyRecorded<M, P>
auto bilinear_sample(const D& device, const M& map_like, const P& points_like) {
  auto& tape = tape_of("bilinear_sample", map_like, points_like);
  const auto map = tape.operand(map_like);
  const auto points = tape.operand(points_like);
  const auto out = tape.template make<3>(detail::bilinear_sample_sizes(map.sizes(), points.sizes()));
  bilinear_sample(DeviceRef(device), map.value(), points.value(), tape.written(out));
  tape.on_backward(out, [&tape, map, points, out] {
    bilinear_sample_backward(tape.device(), map.value(), points.value(), tape.gradient(out), tape.accumulate(map),
                             tape.accumulate(points));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
