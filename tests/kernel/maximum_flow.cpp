// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/maximum_flow.hpp"

#include <random>

#include "catch.hpp"
#include "heed/core/tensor.hpp"

using heed::Index;
using heed::kernel::FlowNetwork;

TEST_CASE("maximum_flow: paths that must be undone, no path, and asked again") {
  // Through the bridge 1 -> 2 first, half of it must be given back.
  FlowNetwork diamond(4);
  diamond.add_edge(0, 1, 3);
  diamond.add_edge(0, 2, 2);
  diamond.add_edge(1, 2, 5);
  diamond.add_edge(1, 3, 2);
  diamond.add_edge(2, 3, 3);
  CHECK(diamond.maximum_flow(0, 3) == 5);
  CHECK(diamond.maximum_flow(0, 3) == 5);
  CHECK(diamond.maximum_flow(1, 3) == 5);
  CHECK(diamond.maximum_flow(3, 0) == 0);
}

TEST_CASE("maximum_flow is the smallest cut") {
  std::mt19937 engine(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (const Index nodes : {2, 3, 6, 8})
    for (int trial = 0; trial < 5; ++trial) {
      FlowNetwork network(nodes);
      heed::Tensor<double, 2> capacity(nodes, nodes);
      capacity.setZero();
      for (Index i = 0; i < nodes; ++i)
        for (Index j = 0; j < nodes; ++j)
          if (i != j && uniform(engine) < 0.6) network.add_edge(i, j, capacity(i, j) = uniform(engine));
      double smallest = 1e9;
      for (Index cut = 0; cut < Index(1) << nodes; ++cut) {
        const auto inside = [&](Index i) { return (cut >> i & 1) != 0; };
        if (!inside(0) || inside(nodes - 1)) continue;
        double across = 0;
        for (Index i = 0; i < nodes; ++i)
          for (Index j = 0; j < nodes; ++j)
            if (inside(i) && !inside(j)) across += capacity(i, j);
        smallest = std::min(smallest, across);
      }
      CHECK(network.maximum_flow(0, nodes - 1) == Approx(smallest).margin(1e-12));
    }
}
