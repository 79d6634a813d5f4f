// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/cross_dual.md in which latents, slots or another stream read the input.
#include "heed/cross/bidirectional_cross_attention.hpp"
#include "heed/cross/co_attention.hpp"
#include "heed/cross/gated_cross_attention.hpp"
#include "heed/cross/induced_set_attention.hpp"
#include "heed/cross/latent_cross_attention.hpp"
#include "heed/cross/multihead_attention_block.hpp"
#include "heed/cross/perceiver_resampler.hpp"
#include "heed/cross/pooling_by_multihead_attention.hpp"
#include "heed/cross/query_former_layer.hpp"
#include "heed/cross/resampler_attention.hpp"
#include "heed/cross/slot_attention.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

// A mask that a case may have. It lives as long as the case.
template <class C>
std::optional<heed::View<const std::uint8_t, 2>> mask_or_none(const C& c, std::string_view name) {
  if (!c.has_in(name)) return std::nullopt;
  return heed::const_view(c.mask(rank<2>, name));
}

void add_latents(Registry& add) {
  add("latent_cross_attention", []<class C>(C& c) {
    heed::LatentCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "latents"), c.in(rank<3>, "x"), {.mask = mask_or_none(c, "mask")}));
  });
  add("resampler_attention", []<class C>(C& c) {
    heed::ResamplerAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<3>, "latents")));
  });
  add("perceiver_resampler", []<class C>(C& c) {
    heed::PerceiverResampler<Scalar<C>> op{{.num_heads = c.integer("num_heads"),
                                            .eps = c.number("eps"),
                                            .frame_embeddings = c.flag("frame_embeddings"),
                                            .media_embeddings = c.flag("media_embeddings")}};
    op.layer.resize(std::size_t(c.integer("num_layers")));
    c.parameters(op);
    c.out("out", op(c.in(rank<5>, "x")));
  });
  add("gated_cross_attention", []<class C>(C& c) {
    heed::GatedCrossAttention<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .only_immediate = c.flag("only_immediate"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x"), c.in(rank<4>, "media"), c.mask(rank<2>, "media_locations")));
  });
  add("slot_attention", []<class C>(C& c) {
    heed::SlotAttention<Scalar<C>> op{{.iters = c.integer("iters"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

void add_streams(Registry& add) {
  add("query_former_layer", []<class C>(C& c) {
    heed::QueryFormerLayer<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .cross_attention = c.flag("cross_attention"), .eps = c.number("eps")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "query"), c.in(rank<3>, "text"), c.in(rank<3>, "image"),
                           {.self_mask = mask_or_none(c, "self_mask"), .image_mask = mask_or_none(c, "image_mask")});
    c.out("query_out", result.query_out);
    c.out("text_out", result.text_out);
  });
  add("co_attention", []<class C>(C& c) {
    heed::CoAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "visual"), c.in(rank<3>, "text"),
                           {.visual_mask = mask_or_none(c, "visual_mask"), .text_mask = mask_or_none(c, "text_mask")});
    c.out("visual_out", result.visual_out);
    c.out("text_out", result.text_out);
  });
  add("bidirectional_cross_attention", []<class C>(C& c) {
    heed::BidirectionalCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "latents"), c.in(rank<3>, "tokens"));
    c.out("latents_out", result.latents_out);
    c.out("tokens_out", result.tokens_out);
  });
}

template <template <class> class Op, class C>
auto set_operator(const C& c) {
  return Op<Scalar<C>>{{.num_heads = c.integer("num_heads"), .layer_norm = c.flag("layer_norm")}};
}

void add_sets(Registry& add) {
  add("multihead_attention_block", []<class C>(C& c) {
    auto op = set_operator<heed::MultiheadAttentionBlock>(c);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "query"), c.in(rank<3>, "key")));
  });
  add("induced_set_attention", []<class C>(C& c) {
    auto op = set_operator<heed::InducedSetAttention>(c);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("pooling_by_multihead_attention", []<class C>(C& c) {
    auto op = set_operator<heed::PoolingByMultiheadAttention>(c);
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
}

void add_cross_latent(Registry& add) {
  add_latents(add);
  add_streams(add);
  add_sets(add);
}

const Adapters kCrossLatent{add_cross_latent};

}  // namespace

}  // namespace conformance
