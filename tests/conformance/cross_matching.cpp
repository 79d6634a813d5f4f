// SPDX-License-Identifier: Apache-2.0
// Adapters for matching, quantising and windowed interaction of mechanisms/cross_dual.md.
#include "heed/cross/attentional_projection.hpp"
#include "heed/cross/bidirectional_cross_modal_matching.hpp"
#include "heed/cross/dual_codebook_tokenizer.hpp"
#include "heed/cross/gated_cross_modal_fusion_block.hpp"
#include "heed/cross/global_local_matching.hpp"
#include "heed/cross/multi_scale_cross_modal_interaction.hpp"
#include "heed/cross/residual_vector_quantization.hpp"
#include "heed/cross/similarity_memory_retrieval.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_codes(Registry& add) {
  add("attentional_projection", []<class C>(C& c) {
    heed::AttentionalProjection<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .causal = c.flag("causal")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "x")));
  });
  add("residual_vector_quantization", []<class C>(C& c) {
    heed::ResidualVectorQuantization<Scalar<C>> op{
        {.depth = c.integer("depth"), .shared_codebook = c.flag("shared_codebook")}};
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x"));
    c.out("codes", result.codes);
    c.out("out", result.out);
  });
  add("dual_codebook_tokenizer", []<class C>(C& c) {
    heed::DualCodebookTokenizer<Scalar<C>> op({.num_heads = c.integer("num_heads"),
                                               .depth_pixel = c.integer("depth_pixel"),
                                               .depth_semantic = c.integer("depth_semantic")});
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "x_pixel"), c.in(rank<3>, "x_semantic"));
    c.out("pixel_codes", result.pixel_codes);
    c.out("semantic_codes", result.semantic_codes);
    c.out("pixel", result.pixel);
    c.out("semantic", result.semantic);
  });
}

void add_matching(Registry& add) {
  add("similarity_memory_retrieval", []<class C>(C& c) {
    const heed::SimilarityMemoryRetrieval retrieve{
        {.top_k = c.integer("top_k"),
         .temperature = c.number("temperature"),
         .order = c.text("order") == "position" ? heed::MemoryOrder::kPosition : heed::MemoryOrder::kScore}};
    const auto result = retrieve(c.in(rank<2>, "query"), c.in(rank<2>, "key"), c.in(rank<2>, "value"));
    c.out("indices", result.indices);
    c.out("similarity", result.similarity);
    c.out("probability", result.probability);
    c.out("retrieved", result.retrieved);
  });
  add("global_local_matching", []<class C>(C& c) {
    heed::GlobalLocalMatching<Scalar<C>> op{{.eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<2>, "entity_cls"), c.in(rank<3>, "entity_tokens"), c.in(rank<2>, "mention_cls"),
                    c.in(rank<3>, "mention_tokens")));
  });
  add("bidirectional_cross_modal_matching", []<class C>(C& c) {
    using Op = heed::BidirectionalCrossModalMatching<Scalar<C>>;
    Op op{{.num_heads = c.integer("num_heads"), .lam = c.number("lam"), .eps = c.number("eps")}};
    c.parameters(op);
    const auto subject = [&](const std::string& of) {
      using Class = decltype(c.in(rank<2>, ""));
      using Tokens = decltype(c.in(rank<3>, ""));
      return typename Op::template Subject<Class, Tokens>{
          c.in(rank<2>, of + "_text_cls"), c.in(rank<3>, of + "_text_tokens"), c.in(rank<2>, of + "_image_cls"),
          c.in(rank<3>, of + "_image_tokens")};
    };
    const auto result = op(subject("entity"), subject("mention"));
    c.out("score_text_image", result.score_text_image);
    c.out("score_image_text", result.score_image_text);
  });
}

void add_interaction(Registry& add) {
  add("multi_scale_cross_modal_interaction", []<class C>(C& c) {
    heed::MultiScaleCrossModalInteraction<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "visual"), c.in(rank<3>, "text"), c.mask(rank<2>, "text_mask"));
    c.out("visual_out", result.visual_out);
    c.out("text_out", result.text_out);
  });
  add("gated_cross_modal_fusion_block", []<class C>(C& c) {
    heed::GatedCrossModalFusionBlock<Scalar<C>> op;
    c.parameters(op);
    const auto result = op(c.in(rank<3>, "visual"), c.in(rank<3>, "text"), c.mask(rank<2>, "text_mask"));
    c.out("visual_out", result.visual_out);
    c.out("text_out", result.text_out);
  });
}

void add_cross_matching(Registry& add) {
  add_codes(add);
  add_matching(add);
  add_interaction(add);
}

const Adapters kCrossMatching{add_cross_matching};

}  // namespace

}  // namespace conformance
