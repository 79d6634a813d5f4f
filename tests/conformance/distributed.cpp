// SPDX-License-Identifier: Apache-2.0
// Adapters for the distributed operators of mechanisms/local_linear.md, all ranks in this process.
#include "heed/distributed/context_parallel_in_process.hpp"
#include "heed/distributed/sequence_partition.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::SequenceLayout sequence_layout(const std::string& name) {
  if (name == "zigzag") return heed::SequenceLayout::kZigzag;
  if (name == "contiguous") return heed::SequenceLayout::kContiguous;
  if (name == "striped") return heed::SequenceLayout::kStriped;
  throw std::invalid_argument("no layout of a sequence has the name " + name);
}

void add_sequence_partition(Registry& add) {
  add.without_gradient("sequence_partition", []<class C>(C& c) {
    const auto lengths = c.integers("lengths");
    const auto partition =
        heed::sequence_partition(c.integer("world_size"), lengths, sequence_layout(c.text("layout")));
    c.out("index", partition.index);
    c.out("inverse", partition.inverse);
  });
}

heed::ContextStrategy context_strategy(const std::string& name) {
  if (name == "ring") return heed::ContextStrategy::kRing;
  if (name == "all_gather") return heed::ContextStrategy::kAllGather;
  if (name == "ulysses") return heed::ContextStrategy::kUlysses;
  if (name == "usp") return heed::ContextStrategy::kUsp;
  if (name == "double_ring") return heed::ContextStrategy::kDoubleRing;
  throw std::invalid_argument("no strategy has the name " + name);
}

void add_context_parallel_attention(Registry& add) {
  add("context_parallel_attention", []<class C>(C& c) {
    const heed::ContextParallelAttention attend{
        {.strategy = context_strategy(c.text("strategy")),
         .ulysses_size = c.integer_or_null("ulysses_size").value_or(1),
         .ring_size = c.integer_or_null("ring_size").value_or(1),
         .inner_ring_size = c.integer_or_null("inner_ring_size").value_or(1),
         .layout = sequence_layout(c.has_attr("layout") ? c.text("layout") : "zigzag"),
         .causal = c.has_attr("causal") && c.flag("causal"),
         .scale = c.number_or_null("scale")}};
    const auto [out, lse] =
        heed::context_parallel_attention(attend, c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"));
    c.out("out", out);
    c.out("lse", lse);
    c.out("schedule", attend.schedule());
  });
}

void add_distributed(Registry& add) {
  add_sequence_partition(add);
  add_context_parallel_attention(add);
}

const Adapters kDistributed{add_distributed};

}  // namespace

}  // namespace conformance
