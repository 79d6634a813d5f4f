// SPDX-License-Identifier: Apache-2.0
// Adapters for the layers of mechanisms/cross_dual.md, and for those with rules of their own.
#include "heed/cross/coupled_decoupled_cross_attention.hpp"
#include "heed/cross/cross_attention_decoder_layer.hpp"
#include "heed/cross/forgery_aware_feature_fusion.hpp"
#include "heed/cross/interaction_two_stream_encoder.hpp"
#include "heed/cross/item_local_gated_fusion.hpp"
#include "heed/cross/modality_mutual_attention.hpp"
#include "heed/cross/multi_reference_self_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_layers(Registry& add) {
  add("forgery_aware_feature_fusion", []<class C>(C& c) {
    heed::ForgeryAwareFeatureFusion<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .eps = c.number("eps"), .use_attn_bias = c.flag("use_attn_bias")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "context"), c.in(rank<4>, "attn_map")));
  });
  add("coupled_decoupled_cross_attention", []<class C>(C& c) {
    heed::CoupledDecoupledCrossAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .eps = c.number("eps"), .audio_scale = c.number("audio_scale")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "text"), c.in(rank<3>, "image"), c.in(rank<4>, "audio"),
                    c.in(rank<2>, "audio_mask")));
  });
  add("cross_attention_decoder_layer", []<class C>(C& c) {
    heed::CrossAttentionDecoderLayer<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "context")));
  });
  add("interaction_two_stream_encoder", []<class C>(C& c) {
    heed::InteractionTwoStreamEncoder<Scalar<C>> op({.num_heads = c.integer("num_heads"),
                                                     .num_image_heads = c.integer("num_image_heads"),
                                                     .num_joint_layers = c.integer("num_joint_layers"),
                                                     .num_text_layers = c.integer("num_text_layers"),
                                                     .num_image_layers = c.integer("num_image_layers"),
                                                     .eps = c.number("eps")});
    c.parameters(op);
    const auto result =
        op(c.in(rank<3>, "image"), c.in(rank<3>, "text"), c.mask(rank<2>, "image_mask"), c.mask(rank<2>, "text_mask"));
    c.out("image_out", result.image_out);
    c.out("text_out", result.text_out);
  });
}

void add_rules(Registry& add) {
  add("modality_mutual_attention", []<class C>(C& c) {
    const heed::ModalityMutualAttention attend;
    const auto& valid = c.mask(rank<2>, "valid");
    const auto& spans = c.indices(rank<2>, "spans");
    c.out("mask", attend.mask(valid, spans));
    c.out("out", attend(c.in(rank<4>, "q"), c.in(rank<4>, "k"), c.in(rank<4>, "v"), valid, spans));
  });
  add("multi_reference_self_attention", []<class C>(C& c) {
    const heed::MultiReferenceSelfAttention attend{
        {.mask_weights = c.has_attr("mask_weights") ? c.numbers("mask_weights") : std::vector<double>(),
         .style_fidelity = c.number("style_fidelity")}};
    c.out("out", attend(c.in(rank<3>, "q"), c.in(rank<3>, "k"), c.in(rank<3>, "v"), c.in(rank<4>, "k_ref"),
                        c.in(rank<4>, "v_ref"), heed::values_of(c.in(rank<3>, "ref_mask"))));
  });
  add("item_local_gated_fusion", []<class C>(C& c) {
    heed::ItemLocalGatedFusion<Scalar<C>> op(
        {.num_heads = c.integer("num_heads"),
         .item_length = c.integer("item_length"),
         .mode = c.text("mode") == "encoder" ? heed::ItemMode::kEncoder : heed::ItemMode::kDecoder,
         .eps = c.number("eps")});
    c.parameters(op);
    // A decoder does not read `valid`, and may come without it.
    const auto x = c.in(rank<3>, "x");
    c.out("out", c.has_in("valid") ? op(x, c.mask(rank<2>, "valid")) : op(x));
  });
}

void add_cross_layers(Registry& add) {
  add_layers(add);
  add_rules(add);
}

const Adapters kCrossLayers{add_cross_layers};

}  // namespace

}  // namespace conformance
