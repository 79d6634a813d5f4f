// SPDX-License-Identifier: Apache-2.0
// Adapters for the scans, gates, landmarks and memories of mechanisms/self.md.
#include "heed/self/elementwise_gated_attention.hpp"
#include "heed/self/gaussian_adaptive_attention.hpp"
#include "heed/self/importance_factor.hpp"
#include "heed/self/neural_memory.hpp"
#include "heed/self/taylor_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <template <class> class Op>
void add_scan(Registry& add, const char* name) {
  add(name, []<class C>(C& c) {
    Op<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .causal = c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

template <int R, class C>
void run_gaussian_attention(C& c) {
  heed::GaussianAdaptiveAttention<Scalar<C>> op{{.axis = int(c.integer("axis")),
                                                 .num_heads = c.integer("num_heads"),
                                                 .padding_value = c.number_or_null("padding_value"),
                                                 .eps = c.number("eps")}};
  c.parameters(op);
  const auto result = op(c.in(rank<R>, "x"));
  c.out("out", result.out);
  c.out("weights", result.weights);
}

template <int R, class C>
void run_gaussian_block(C& c) {
  heed::GaussianAdaptiveBlock<Scalar<C>> op;
  const auto axes = c.integers("axes"), heads = c.integers("num_heads");
  for (std::size_t l = 0; l < axes.size(); ++l)
    op.layer.push_back({{.axis = int(axes[l]),
                         .num_heads = heads[l],
                         .padding_value = c.number_or_null("padding_value"),
                         .eps = c.number("eps")}});
  c.parameters(op);
  c.out("out", op(c.in(rank<R>, "x")));
}

// f(rank<R>) for the rank R of an input.
template <class C, class F>
void of_rank(C& c, std::string_view name, const F& f) {
  switch (c.shape(name).size()) {
    case 1: return f(rank<1>);
    case 2: return f(rank<2>);
    case 3: return f(rank<3>);
    case 4: return f(rank<4>);
    default: throw std::invalid_argument("an input of more axes than 4");
  }
}

void add_gaussian(Registry& add) {
  add("gaussian_adaptive_attention", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if constexpr (R > 1) run_gaussian_attention<R>(c);
    });
  });
  add("gaussian_adaptive_block", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if constexpr (R > 1) run_gaussian_block<R>(c);
    });
  });
  add("importance_factor", []<class C>(C& c) {
    of_rank(c, "x", [&]<int R>(RankTag<R>) {
      if (!c.flag("average")) {
        c.out("importance", heed::importance_factor(c.in(rank<R>, "x")));
      } else if constexpr (R > 1) {
        c.out("importance", heed::importance_factor<true>(c.in(rank<R>, "x")));
      }
    });
  });
}

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
    heed::NeuralMemory<T> op{{.chunk_size = c.integer("chunk_size"),
                              .minibatch_size = c.integer("minibatch_size"),
                              .activation = memory_activation(c.text("activation")),
                              .loss_reduction = c.text("loss_reduction") == "mean" ? heed::MemoryLoss::kMean
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

}  // namespace

void add_self_memory(Registry& add) {
  add_scan<heed::ElementwiseGatedAttention>(add, "elementwise_gated_attention");
  add_scan<heed::TaylorAttention>(add, "taylor_attention");
  add_gaussian(add);
  add_neural_memory(add);
}

}  // namespace conformance
