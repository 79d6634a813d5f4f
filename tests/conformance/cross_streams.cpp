// SPDX-License-Identifier: Apache-2.0
// Adapters for the operators of mechanisms/cross_dual.md that fuse two streams without a mask, and for guidance.
#include "heed/cross/clip_memory_tokens.hpp"
#include "heed/cross/dual_input_perceiver.hpp"
#include "heed/cross/dual_stream_cross_attention.hpp"
#include "heed/cross/latent_chain_cross_attention.hpp"
#include "heed/cross/phase_aware_guidance.hpp"
#include "heed/cross/sequential_modality_fusion.hpp"
#include "heed/cross/single_stream_fusion_block.hpp"
#include "heed/cross/soft_image_guidance.hpp"
#include "registry.hpp"

namespace conformance {

namespace {

void add_two_streams(Registry& add) {
  add("single_stream_fusion_block", []<class C>(C& c) {
    heed::SingleStreamFusionBlock<Scalar<C>> op{{.num_heads = c.integer("num_heads"), .eps = c.number("eps")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "rule"), c.in(rank<3>, "stim")));
  });
  add("dual_stream_cross_attention", []<class C>(C& c) {
    heed::DualStreamCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "rule"), c.in(rank<3>, "stim")));
  });
  add("latent_chain_cross_attention", []<class C>(C& c) {
    heed::LatentChainCrossAttention<Scalar<C>> op{{.num_heads = c.integer("num_heads")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "rule"), c.in(rank<3>, "stim")));
  });
  add("dual_input_perceiver", []<class C>(C& c) {
    heed::DualInputPerceiver<Scalar<C>> op{
        {.num_heads = c.integer("num_heads"), .num_latents = c.integer("num_latents")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<3>, "rule"), c.in(rank<3>, "stim")));
  });
}

void add_states(Registry& add) {
  add("sequential_modality_fusion", []<class C>(C& c) {
    const auto present = c.mask(rank<1>, "present");
    Index decoders = 0;
    while (c.has_param("decoder" + std::to_string(decoders) + ".weight")) ++decoders;
    heed::SequentialModalityFusion<Scalar<C>> op({.hidden = c.integer_lists("hidden"), .num_decoders = decoders});
    c.parameters(op);
    std::vector<decltype(c.in(rank<2>, "x0"))> x;
    for (Index e = 0; e < present.size(); ++e) x.push_back(c.in(rank<2>, "x" + std::to_string(e)));
    const auto result = op(x, {.present = std::vector<bool>(present.data(), present.data() + present.size())});
    c.out("states", result.states);
    c.out("predictions", result.predictions);
  });
  add("clip_memory_tokens", []<class C>(C& c) {
    heed::ClipMemoryTokens<Scalar<C>> op{{.grid = c.integer("grid")}};
    c.parameters(op);
    c.out("out", op(c.in(rank<5>, "x")));
  });
}

void add_guidance(Registry& add) {
  add("phase_aware_guidance", []<class C>(C& c) {
    const heed::PhaseAwareGuidance guide{{.num_steps = c.integer("num_steps"),
                                          .guidance_scale = c.number("guidance_scale"),
                                          .audio_guidance_scale = c.number("audio_guidance_scale"),
                                          .dynamic_text = c.flag("dynamic_text"),
                                          .dynamic_audio = c.flag("dynamic_audio")}};
    const auto run = [&]<int R>(RankTag<R> axes) {
      c.out("out",
            guide(c.integer("step"), c.in(axes, "pred_uncond"), c.in(axes, "pred_text"), c.in(axes, "pred_full")));
    };
    switch (c.shape("pred_full").size()) {
      case 1:
        return run(rank<1>);
      case 2:
        return run(rank<2>);
      case 3:
        return run(rank<3>);
      case 4:
        return run(rank<4>);
      case 5:
        return run(rank<5>);
      default:
        return run(rank<6>);
    }
  });
  add("soft_image_guidance", []<class C>(C& c) {
    const heed::SoftImageGuidance guide{
        {.mode = c.text("mode") == "guidance" ? heed::SoftGuidance::kGuidance : heed::SoftGuidance::kContrastive,
         .guidance_scale = c.number("guidance_scale"),
         .alpha = c.number("alpha"),
         .beta = c.number("beta")}};
    const auto result = guide(c.in(rank<2>, "logits_image"), c.in(rank<2>, "logits_soft"));
    c.out("keep", result.keep);
    c.out("out", result.out);
  });
}

void add_cross_streams(Registry& add) {
  add_two_streams(add);
  add_states(add);
  add_guidance(add);
}

const Adapters kCrossStreams{add_cross_streams};

}  // namespace

}  // namespace conformance
