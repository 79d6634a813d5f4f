// SPDX-License-Identifier: Apache-2.0
// Adapters for the distributed operators of mechanisms/local_linear.md, all ranks in this process.
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

void add_distributed(Registry& add) { add_sequence_partition(add); }

const Adapters kDistributed{add_distributed};

}  // namespace

}  // namespace conformance
