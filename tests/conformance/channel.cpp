// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/channel.md.
#include "heed/channel.hpp"
#include "attributes.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

template <class C>
void read_four(const C& c, std::string_view name, std::array<Index, 4>& option) {
  if (!c.has_attr(name)) return;
  const std::vector<Index> values = c.integers(name);
  if (values.size() != 4) throw std::invalid_argument(std::string(name) + " must have four values");
  std::copy(values.begin(), values.end(), option.begin());
}

template <class C, class Gate>
void read_pools(const C& c, Gate& gate) {
  using Pool = typename Gate::Pool;
  if (!c.has_attr("pool_types")) return;
  gate.options.pools.clear();
  for (const std::string& name : c.texts("pool_types")) {
    const std::map<std::string, Pool> pools{
        {"avg", Pool::kMean}, {"max", Pool::kMax}, {"lp", Pool::kLp}, {"lse", Pool::kLse}};
    gate.options.pools.push_back(pools.at(name));
  }
}

template <class C, class Gate>
void read_order(const C& c, Gate& gate) {
  using Order = typename Gate::Order;
  choose(c, "order", gate.options.order, {{"max_mean", Order::kMaxMean}, {"mean_max", Order::kMeanMax}});
}

void add_gates(Registry& add) {
  add("squeeze_excitation", []<class C>(C& c) {
    heed::SqueezeExcitation<Scalar<C>> op;
    using Pool = typename decltype(op)::Pool;
    choose(c, "pool", op.options.pool, {{"avg", Pool::kMean}, {"max", Pool::kMax}});
    run(c, op);
  });
  add("eca", []<class C>(C& c) {
    if (!c.has_attr("shared") || c.flag("shared")) {
      heed::Eca<Scalar<C>> op;
      run(c, op);
    } else {
      heed::Eca<Scalar<C>, false> op;
      run(c, op);
    }
  });
  add("channel_gate", []<class C>(C& c) {
    heed::ChannelGate<Scalar<C>> op;
    read_pools(c, op);
    run(c, op);
  });
  add("spatial_gate", []<class C>(C& c) {
    heed::SpatialGate<Scalar<C>> op;
    read_order(c, op);
    read(c, "residual", op.options.residual);
    run(c, op);
  });
  add("cbam", []<class C>(C& c) {
    heed::Cbam<Scalar<C>> op;
    read(c, "no_spatial", op.options.no_spatial);
    read_pools(c, op.channel);
    read_order(c, op.spatial);
    run(c, op);
  });
  add("bam", []<class C>(C& c) {
    typename heed::Bam<Scalar<C>>::Options options;
    using Combine = typename heed::Bam<Scalar<C>>::Combine;
    read(c, "num_layers", options.num_layers);
    read(c, "dilation_convs", options.dilation_convs);
    read(c, "dilation", options.dilation);
    choose(c, "combine", options.combine, {{"mul", Combine::kMultiply}, {"add", Combine::kAdd}});
    heed::Bam<Scalar<C>> op(options);
    run(c, op);
  });
  add("scse", []<class C>(C& c) {
    heed::Scse<Scalar<C>> op;
    using Combine = typename decltype(op)::Combine;
    choose(c, "combine", op.options.combine, {{"max", Combine::kMax}, {"add", Combine::kAdd}});
    run(c, op);
  });
  add("ela", []<class C>(C& c) {
    heed::Ela<Scalar<C>> op;
    read(c, "num_groups", op.options.num_groups);
    read(c, "eps", op.options.eps);
    run(c, op);
  });
  add("coordinate_attention", []<class C>(C& c) {
    heed::CoordinateAttention<Scalar<C>> op;
    run(c, op);
  });
  add("simam", []<class C>(C& c) {
    heed::SimAm<Scalar<C>> op;
    read(c, "e_lambda", op.options.e_lambda);
    run(c, op);
  });
  add("triplet_attention", []<class C>(C& c) {
    heed::TripletAttention<Scalar<C>> op;
    read(c, "no_spatial", op.options.no_spatial);
    run(c, op);
  });
  add("pyramid_squeeze_attention", []<class C>(C& c) {
    heed::PyramidSqueezeAttention<Scalar<C>> op;
    read(c, "stride", op.options.stride);
    run(c, op);
  });
  add("selective_kernel", []<class C>(C& c) {
    typename heed::SelectiveKernel<Scalar<C>>::Options options;
    if (c.has_attr("dilations")) options.dilations = c.integers("dilations");
    read(c, "stride", options.stride);
    heed::SelectiveKernel<Scalar<C>> op(options);
    run(c, op);
  });
  add("global_context", []<class C>(C& c) {
    heed::GlobalContext<Scalar<C>> op;
    using Pooling = typename decltype(op)::Pooling;
    choose(c, "pooling", op.options.pooling, {{"att", Pooling::kAttention}, {"avg", Pooling::kMean}});
    if (c.has_attr("fusion")) {
      const auto fusion = c.texts("fusion");
      const auto has = [&](const char* name) { return std::find(fusion.begin(), fusion.end(), name) != fusion.end(); };
      op.options.channel_add = has("channel_add");
      op.options.channel_mul = has("channel_mul");
    }
    run(c, op);
  });
}

void add_compositions(Registry& add) {
  add("attention_pool", []<class C>(C& c) {
    heed::AttentionPool<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("out", result.out);
    c.out("weights", result.weights);
  });
  add("attention_map_gating", []<class C>(C& c) {
    heed::AttentionMapGating<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<4>, "a"), c.in(rank<4>, "d"));
    c.out("out", result.out);
    c.out("attention", result.attention);
  });
  add("aspp", []<class C>(C& c) {
    heed::Aspp<Scalar<C>> op;
    read_four(c, "dilations", op.options.dilations);
    run(c, op);
  });
  add("context_aware_module", []<class C>(C& c) {
    heed::ContextAwareModule<Scalar<C>> op;
    read_four(c, "sizes", op.options.sizes);
    run(c, op);
  });
  add("mafi", []<class C>(C& c) {
    heed::Mafi<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "image"), c.in(rank<4>, "lidar")));
  });
  add("pav_guided_attention", []<class C>(C& c) {
    heed::PavGuidedAttention<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"), c.in(rank<3>, "pav"));
    c.out("out", result.out);
    c.out("channel", result.channel);
    c.out("spatial", result.spatial);
  });
  add("class_semantics_attention", []<class C>(C& c) {
    heed::ClassSemanticsAttention<Scalar<C>> op;
    using Fusion = typename decltype(op)::Fusion;
    choose(c, "fusion", op.options.fusion,
           {{"add", Fusion::kAdd}, {"mul", Fusion::kMultiply}, {"max", Fusion::kMax}, {"concat", Fusion::kConcat}});
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "r"), c.in(rank<3>, "f"));
    c.out("out", result.out);
    c.out("channel", result.channel);
    c.out("temporal", result.temporal);
  });
  add("task_channel_scaling", []<class C>(C& c) {
    typename heed::TaskChannelScaling<Scalar<C>>::Options options;
    read(c, "num_tasks", options.num_tasks);
    read(c, "split", options.split);
    read(c, "sigmoid", options.sigmoid);
    heed::TaskChannelScaling<Scalar<C>> op(options);
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    for (std::size_t t = 0; t < result.out.size(); ++t) {
      c.out("gate" + std::to_string(t), result.gate[t]);
      c.out("out" + std::to_string(t), result.out[t]);
    }
  });
  add("learnable_branch_fusion", []<class C>(C& c) {
    heed::LearnableBranchFusion<Scalar<C>> op;
    c.parameters(op);
    c.out("out", op(c.in(rank<2>, "u"), c.in(rank<2>, "v")));
  });
}

void add_channel(Registry& add) {
  add_gates(add);
  add_compositions(add);
}

const Adapters kChannel{add_channel};

}  // namespace

}  // namespace conformance
