// SPDX-License-Identifier: Apache-2.0
// attencraft_attention_loss: how far cross-attention is from the masks of its concepts.
#pragma once

#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/entropy.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// The mean over t of the Jensen-Shannon divergence, in nats, of p = softmax(cross(t)) and q = softmax(masks(t)) over
/// all pixels: sum of p ln(p + e) / 2 + q ln(q + e) / 2 - m ln(m + e), m = (p + q) / 2, e = 1e-16.
///
/// cross (T, R, R), maps brought to 0 .. 1, masks (T, R, R) of 0 and 1 in the same type; the result (1). Gradients go
/// to both; training uses that of cross. Throws heed::Error for shapes that do not fit. Source: Shentu et al. 2024
/// (AttenCraft), junjie-shentu/AttenCraft.
struct AttencraftAttentionLoss {
  template <Operand X, Operand Y>
  auto operator()(const X& cross, const Y& masks) const {
    return (*this)(DeviceRef(), cross, masks);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& cross_like, const Y& masks_like) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::AttencraftAttentionLoss: cross and masks are (T, R, R)");
    constexpr std::string_view name = "attencraft_attention_loss";
    const auto cross = parameter_with(cross_like, masks_like), masks = parameter_with(masks_like, cross_like);
    const auto sizes = sizes_of(cross);
    require_shape(name, "masks", sizes_of(masks), sizes);
    require(sizes[0] > 0, name, "there must be a map, got shape ", shape_text(sizes));
    const auto flat = [&](const auto& x) { return copy_as<2>(device, x, {sizes[0], sizes[1] * sizes[2]}); };
    const auto p = softmax(device, flat(cross)), q = softmax(device, flat(masks));
    const auto m = scale(device, add(device, p, q), 0.5);
    const auto information = [&](const auto& x, double factor) {
      return sum(device, activate(device, XLogX{1e-16}, x), {0, 1}, factor / double(sizes[0]));
    };
    const auto own = add(device, information(p, 0.5), information(q, 0.5));
    return copy_as<1>(device, add(device, own, information(m, -1)), {1});
  }
};

}  // namespace heed::inline HEED_ISA
