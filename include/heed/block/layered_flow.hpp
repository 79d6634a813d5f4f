// SPDX-License-Identifier: Apache-2.0
// layered_flow: maximum flows through layers of nodes.
#pragma once

#include "heed/core/device.hpp"
#include "heed/core/operand.hpp"
#include "heed/kernel/maximum_flow.hpp"

namespace heed::inline HEED_ISA {

/// out(l, i, j) = the maximum flow from node i of level l + 1 to node j of level 0, where node i of level l + 1 has an
/// edge to node j of level l of capacity x(l, i, j): x (L, N, N), out as x. In double, exact up to rounding. L N^2
/// flows in graphs of up to L N^2 edges: for small N. The same bits for any number of threads.
///
/// No gradient: what limits a flow changes by steps.
template <Device D, TensorLike X>
auto layered_flow(const D& device, const X& x_like) {
  static_assert(kRankOf<X> == 3, "heed::layered_flow: x is (L, N, N)");
  using U = ScalarOf<X>;
  const auto x = const_view(x_like);
  const Index layers = x.size(0), n = x.size(1);
  require(x.size(2) == n, "layered_flow", "x must have shape (L, N, N), got ", shape_text(x.sizes));
  Tensor<U, 3> out(layers, n, n);
  parallel_for(device, layers * n, [&](Index unit) {
    const Index level = unit / n, i = unit % n;
    // Levels above the source have no edge that leads back down.
    kernel::FlowNetwork network((level + 2) * n);
    for (Index l = 0; l <= level; ++l)
      for (Index a = 0; a < n; ++a)
        for (Index b = 0; b < n; ++b)
          if (const double capacity = double(x(l, a, b)); capacity > 0 && (l < level || a == i))
            network.add_edge((l + 1) * n + a, l * n + b, capacity);
    for (Index j = 0; j < n; ++j) out(level, i, j) = static_cast<U>(network.maximum_flow((level + 1) * n + i, j));
  });
  return out;
}

}  // namespace heed::inline HEED_ISA
