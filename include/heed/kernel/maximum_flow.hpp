// SPDX-License-Identifier: Apache-2.0
// Maximum flow between two nodes of a graph.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA {

namespace kernel {

/// A directed graph with capacities, and the maximum flow from one of its nodes to another by Dinic's method: shortest
/// paths are filled phase by phase. An edge that a path fills has exactly nothing left, so that it ends for any
/// capacities. O(V^2 E) at most, far less on layers.
class FlowNetwork {
 public:
  explicit FlowNetwork(Index nodes) : edges_of_(std::size_t(nodes)) {}

  void add_edge(Index from, Index to, double capacity) {
    edges_of_[std::size_t(from)].push_back(edges_.size());
    edges_.push_back({std::size_t(to), capacity, 0});
    edges_of_[std::size_t(to)].push_back(edges_.size());
    edges_.push_back({std::size_t(from), 0, 0});
  }

  double maximum_flow(Index from, Index to) {
    for (Edge& edge : edges_) edge.left = edge.capacity;
    const std::size_t source = std::size_t(from), sink = std::size_t(to);
    double flow = 0;
    while (find_levels(source, sink)) {
      next_.assign(edges_of_.size(), 0);
      for (double more; (more = push(source, sink, std::numeric_limits<double>::infinity())) > 0;) flow += more;
    }
    return flow;
  }

 private:
  struct Edge {
    std::size_t to;
    double capacity, left;
  };

  // How far every node is from the source along edges with something left.
  bool find_levels(std::size_t source, std::size_t sink) {
    level_.assign(edges_of_.size(), -1);
    level_[source] = 0;
    queue_.assign(1, source);
    for (std::size_t head = 0; head < queue_.size() && level_[sink] < 0; ++head)
      for (const std::size_t e : edges_of_[queue_[head]])
        if (edges_[e].left > 0 && level_[edges_[e].to] < 0) {
          level_[edges_[e].to] = level_[queue_[head]] + 1;
          queue_.push_back(edges_[e].to);
        }
    return level_[sink] >= 0;
  }
  // Up to `most` along one path of ascending levels; 0 if there is none.
  double push(std::size_t node, std::size_t sink, double most) {
    if (node == sink) return most;
    for (std::size_t& i = next_[node]; i < edges_of_[node].size(); ++i) {
      Edge& edge = edges_[edges_of_[node][i]];
      if (!(edge.left > 0) || level_[edge.to] != level_[node] + 1) continue;
      const double pushed = push(edge.to, sink, std::min(most, edge.left));
      if (!(pushed > 0)) continue;
      edge.left -= pushed;
      edges_[edges_of_[node][i] ^ 1].left += pushed;
      return pushed;
    }
    return 0;
  }

  std::vector<std::vector<std::size_t>> edges_of_;
  std::vector<Edge> edges_;  // each followed by its reverse
  std::vector<int> level_;
  std::vector<std::size_t> next_, queue_;
};

}  // namespace kernel

}  // namespace heed::inline HEED_ISA
