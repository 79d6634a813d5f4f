// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/self.md on images, frames and volumes.
#include "heed/self/bridging_attention.hpp"
#include "heed/self/convolutional_temporal_self_attention.hpp"
#include "heed/self/keypoint_key_sampling.hpp"
#include "heed/self/local_global_fusion.hpp"
#include "heed/self/medusa_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

// How many of name0, name1, ... there are.
template <class Has>
Index count(const Has& has) {
  Index n = 0;
  while (has(std::to_string(n))) ++n;
  return n;
}

template <class C>
heed::SharedLocationOptions location_options(const C& c) {
  heed::SharedLocationOptions options;
  if (c.has_attr("base_size")) {
    const auto base = c.integers("base_size");
    options.base_size.reset();
    if (!base.empty()) options.base_size = {base.at(0), base.at(1)};
  }
  if (c.has_attr("temperature")) options.temperature = c.number("temperature");
  if (c.has_attr("log_scale")) options.log_scale = c.flag("log_scale");
  if (c.has_attr("position_scale")) options.position_scale = c.number("position_scale");
  return options;
}

void add_key_points(Registry& add) {
  add("keypoint_key_sampling", []<class C>(C& c) {
    heed::KeypointKeySampling op;
    op.options.strides = c.integers("strides");
    if (c.has_attr("max_keypoints")) op.options.max_keypoints = c.integer("max_keypoints");
    if (c.has_attr("top_k")) op.options.top_k = c.integer("top_k");
    if (c.has_attr("nms_kernel_size")) op.options.nms_kernel_size = c.integer("nms_kernel_size");
    if (c.has_attr("selection") && c.text("selection") == "interpolation")
      op.options.selection = heed::KeypointSelection::kInterpolation;
    using Map = decltype(c.in(rank<4>, ""));
    std::vector<heed::KeypointLevel<Map>> levels;
    for (Index i = 0; i < Index(op.options.strides.size()); ++i) {
      const std::string l = std::to_string(i);
      levels.push_back({c.in(rank<4>, "logits" + l), c.in(rank<4>, "offsets" + l), c.in(rank<4>, "features" + l)});
    }
    const auto keys = op(levels);
    c.out("key_features", keys.features);
    c.out("key_positions", keys.positions);
    c.out("key_scores", keys.scores);
  });
  add("shared_location_bias", []<class C>(C& c) {
    heed::SharedLocationBias<Scalar<C>> op{location_options(c)};
    c.parameters(op);
    c.out("bias", op(c.in(rank<3>, "query_pos"), c.in(rank<3>, "key_pos")));
  });
  add("bridging_attention", []<class C>(C& c) {
    using Bridge = heed::BridgingAttention<Scalar<C>>;
    typename Bridge::Options options;
    options.bias = location_options(c);
    if (c.has_attr("num_heads")) options.num_heads = c.integer("num_heads");
    if (c.has_attr("appearance")) options.appearance = c.flag("appearance");
    if (c.has_attr("location")) options.location = c.flag("location");
    if (c.has_attr("shared_location")) options.shared_location = c.flag("shared_location");
    options.num_groups = c.has_attr("num_groups") ? c.integer("num_groups")
                                                  : count([&](const std::string& g) { return c.has_in("key" + g); });
    Bridge op(options);
    c.parameters(op);
    using Tokens = decltype(c.in(rank<3>, ""));
    std::vector<heed::KeyPoints<Tokens>> keys;
    for (Index i = 0; i < options.num_groups; ++i) {
      const std::string g = std::to_string(i);
      keys.push_back({c.in(rank<3>, "key" + g), c.in(rank<3>, "key_pos" + g)});
    }
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "query_pos"), keys));
  });
}

void add_maps(Registry& add) {
  add("convolutional_temporal_self_attention", []<class C>(C& c) {
    heed::ConvolutionalTemporalSelfAttention<Scalar<C>> op;
    if (c.has_attr("num_heads")) op.options.num_heads = c.integer("num_heads");
    if (c.has_attr("position_dim")) op.options.position_dim = c.integer("position_dim");
    if (c.has_attr("query") && c.text("query") == "all") op.options.query = heed::FrameQuery::kAll;
    c.parameters(op);
    const auto result = op(c.in(rank<5>, "x"));
    c.out("out", result.out);
    c.out("weights", result.weights);
  });
  add("local_global_fusion", []<class C>(C& c) {
    heed::LocalGlobalFusion<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<4>, "radar"), c.in(rank<4>, "camera")));
  });
  add("medusa_attention", []<class C>(C& c) {
    const Index scales = count([&](const std::string& j) { return c.has_in("features" + j); });
    heed::MedusaAttention<Scalar<C>> op(
        {.num_levels = count([&](const std::string& l) { return c.has_param("enc" + l + ".weight"); }),
         .num_scales = scales,
         .residual = c.has_attr("residual") && c.flag("residual")});
    c.parameters(op);
    std::vector<decltype(c.in(rank<4>, ""))> features;
    for (Index j = 0; j < scales; ++j) features.push_back(c.in(rank<4>, "features" + std::to_string(j)));
    const auto result = op(c.in(rank<4>, "image"), features);
    c.out("global_map", result.global_map);
    for (std::size_t j = 0; j < features.size(); ++j)
      c.out("features" + std::to_string(j) + "_out", result.features[j]);
  });
}

void add_self_vision(Registry& add) {
  add_key_points(add);
  add_maps(add);
}

const Adapters kSelfVision{add_self_vision};

}  // namespace

}  // namespace conformance
