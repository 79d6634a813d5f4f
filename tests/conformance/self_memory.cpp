// SPDX-License-Identifier: Apache-2.0
// Adapters for the memories of mechanisms/self.md.
#include "heed/self/memory_as_context.hpp"
#include "heed/self/memory_as_gate.hpp"
#include "heed/self/memory_as_layer.hpp"
#include "heed/self/neural_memory.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

heed::MemoryActivation memory_activation(const std::string& name) {
  if (name == "gelu") return heed::MemoryActivation::kGelu;
  if (name == "silu") return heed::MemoryActivation::kSilu;
  if (name == "relu") return heed::MemoryActivation::kRelu;
  throw std::invalid_argument("no activation of a memory has the name " + name);
}

template <class C, class Memory>
void make_layers(C& c, Memory& memory, const std::string& name) {
  std::size_t layers = 0;
  while (c.has_param(name + std::to_string(layers))) ++layers;
  memory.resize(layers);
}

void add_neural_memory(Registry& add) {
  add("neural_memory", []<class C>(C& c) {
    using T = Scalar<C>;
    heed::NeuralMemory<T> op{{.chunk_size = c.integer_or_null("chunk_size").value_or(1),
                              .minibatch_size = c.integer_or_null("minibatch_size").value_or(1),
                              .activation = memory_activation(c.has_attr("activation") ? c.text("activation") : "gelu"),
                              .loss_reduction = c.has_attr("loss_reduction") && c.text("loss_reduction") == "mean"
                                                    ? heed::MemoryLoss::kMean
                                                    : heed::MemoryLoss::kSum}};
    make_layers(c, op.memory, "memory");
    c.parameters(op);
    const auto q = c.in(rank<4>, "q"), k = c.in(rank<4>, "k"), v = c.in(rank<4>, "v");
    const auto theta = c.in(rank<3>, "theta"), alpha = c.in(rank<3>, "alpha");
    heed::MemoryState<std::remove_const_t<decltype(q)>> state;
    for (std::size_t l = 0; l < op.memory.size(); ++l) {
      const std::string weights = "state_memory" + std::to_string(l), momentum = "momentum_memory" + std::to_string(l);
      if (c.has_in(weights)) state.memory.push_back(c.in(rank<4>, weights));
      if (c.has_in(momentum)) state.momentum.push_back(c.in(rank<4>, momentum));
    }
    const heed::View<const T, 3> none;
    const auto run = [&](const auto& eta) {
      const auto result = op(heed::DeviceRef(), q, k, v, theta, alpha, eta, state);
      c.out("out", result.out);
      for (std::size_t l = 0; l < op.memory.size(); ++l) {
        c.out("state_memory" + std::to_string(l), result.state.memory[l]);
        if (!result.state.momentum.empty()) c.out("momentum_memory" + std::to_string(l), result.state.momentum[l]);
      }
    };
    if (c.has_in("eta")) {
      run(c.in(rank<3>, "eta"));
    } else {
      run(none);
    }
  });
}

// What the three compositions share.
template <class Op, class C>
void run_titan(C& c, Op op) {
  auto& options = op.options;
  options.num_heads = c.integer("num_heads");
  options.num_memory_heads = c.integer("num_memory_heads");
  options.minibatch_size = c.integer("minibatch_size");
  options.max_step = c.number("max_step");
  make_layers(c, op.mem.memory, "mem.memory");
  c.parameters(op);
  c.out("out", op(c.in(rank<3>, "x")));
}

void add_compositions(Registry& add) {
  add("memory_as_context", []<class C>(C& c) {
    heed::MemoryAsContext<Scalar<C>> op;
    op.options.segment_len = c.integer("segment_len");
    if (c.has_attr("segment_read") && c.text("segment_read") == "segment")
      op.options.segment_read = heed::MemoryRead::kSegment;
    run_titan(c, op);
  });
  add("memory_as_gate",
      []<class C>(C& c) { run_titan(c, heed::MemoryAsGate<Scalar<C>>{{.window_size = c.integer("window_size")}}); });
  add("memory_as_layer",
      []<class C>(C& c) { run_titan(c, heed::MemoryAsLayer<Scalar<C>>{{.window_size = c.integer("window_size")}}); });
}

void add_self_memory(Registry& add) {
  add_neural_memory(add);
  add_compositions(add);
}

const Adapters kSelfMemory{add_self_memory};

}  // namespace

}  // namespace conformance
