// SPDX-License-Identifier: Apache-2.0
// gated_cross_modal_fusion_block: what image and text read of each other, multiplied in, gated and added.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/mlp.hpp"
#include "heed/cross/multi_scale_cross_modal_interaction.hpp"

namespace heed::inline HEED_ISA {

/// (r, t) = interaction(visual, text): f = GELU(project_mm(GELU(visual_project(visual)) * r)), visual_out = visual +
/// tanh(res_gate(f)) * f with res_gate = fc2 ReLU fc1, text_out = text + GELU(text_gate(t)).
///
///   heed::GatedCrossModalFusionBlock<float> fuse;
///   auto [visual_out, text_out] = fuse(visual, text, text_mask);
///
/// visual (B, h h, Cv), text (B, T, Cl), text_mask (B, T) uint8, outputs as the inputs; interaction of the widths K =
/// Vc = Cv, visual_project, project_mm, res_gate.fc1, res_gate.fc2 Cv to Cv, text_gate Cl to Cl, biases optional.
/// Throws heed::Error for shapes that do not fit. Time of the interaction. The same bits for any number of threads.
/// Source: Hu et al. 2023 (DMMI), the authors' All_Fusion_Block.
template <Real T>
struct GatedCrossModalFusionBlock {
  template <class Visual, class Text>
  struct Result {
    Visual visual_out;
    Text text_out;
  };

  MultiScaleCrossModalInteraction<T> interaction = {};
  Linear<T> visual_project = {}, project_mm = {};
  Mlp<T> res_gate = {};
  Linear<T> text_gate = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "interaction.", interaction, "visual_project.", visual_project, "project_mm.", project_mm);
    visit_parts(f, "res_gate.", res_gate, "text_gate.", text_gate);
  }

  template <Operand X, Operand Y, TensorLike M>
  auto operator()(const X& visual, const Y& text, const M& text_mask) const {
    return (*this)(DeviceRef(), visual, text, text_mask);
  }
  template <Device D, Operand X, Operand Y, TensorLike M>
  auto operator()(const D& device, const X& visual, const Y& text, const M& text_mask) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::GatedCrossModalFusionBlock: visual is (B, N, Cv) and text (B, T, Cl)");
    const Index wide = sizes_of(visual)[2], narrow = sizes_of(text)[2];
    check_linear(kName, "visual_project", visual_project, wide, wide);
    check_linear(kName, "project_mm", project_mm, wide, wide);
    check_mlp(kName, "res_gate", res_gate, wide, wide);
    check_linear(kName, "text_gate", text_gate, narrow, narrow);
    require(interaction.v.weight.dimension(0) == wide, kName, "interaction.v.weight must have Cv = ", wide,
            " rows, got ", interaction.v.weight.dimension(0));
    const auto read = interaction(device, visual, text, text_mask);
    const auto projected = gelu(device, visual_project(device, visual));
    const auto joint = gelu(device, project_mm(device, multiply(device, projected, read.visual_out)));
    const auto gate = tanh(device, res_gate(device, Relu(), joint));
    auto visual_out = add(device, visual, multiply(device, gate, joint));
    auto text_out = add(device, text, gelu(device, text_gate(device, read.text_out)));
    return Result<decltype(visual_out), decltype(text_out)>{std::move(visual_out), std::move(text_out)};
  }

 private:
  static constexpr std::string_view kName = "gated_cross_modal_fusion_block";
};

}  // namespace heed::inline HEED_ISA
