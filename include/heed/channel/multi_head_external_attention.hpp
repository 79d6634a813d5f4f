// SPDX-License-Identifier: Apache-2.0
// multi_head_external_attention: attention of tokens to a learned memory that all heads share.
#pragma once

#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/softmax_axis.hpp"
#include "heed/channel/external_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = out(concat_h(mv(A_h))); A_h = the softmax over all tokens of mk(t_h), one for each slot, then divided by 1e-9
/// + its sum over the slots; t_h are the heads of in(x), num_heads * expand of them.
///
/// x (B, N, C), out as x; in.weight (E, C), mk.weight (S, e), mv.weight (e, S), out.weight (C, E), with E = C expand
/// and e = C / num_heads, all biases optional; the memory is the same for all heads. The number of slots S (the paper:
/// 64) follows from the shapes. mk.bias has no effect; with one token every slot weighs 1 / S, whatever x. Throws
/// heed::Error for shapes and options that do not fit and for no tokens. Time O(B N C expand (S + C)). The same bits
/// for any number of threads. Source: Guo et al. 2021 (EANet), section 3.3 and the authors' code.
template <Real T>
struct MultiHeadExternalAttention {
  struct Options {
    Index num_heads = 8;
    Index expand = 4;  ///< 1 or more
  };

  Options options = {};
  Linear<T> in = {}, mk = {}, mv = {}, out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "in.", in, "mk.", mk, "mv.", mv, "out.", out);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MultiHeadExternalAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    const Index channels = sizes[2], heads = options.num_heads * options.expand, inner = channels * options.expand;
    require(sizes[1] > 0, kName, "x must have tokens, got shape ", shape_text(sizes));
    require(options.num_heads > 0 && options.expand > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads, ", and expand 1 or more, got ", options.expand);
    const Index width = channels / options.num_heads, slots = mk.weight.dimension(0);
    check_linear(kName, "in", in, channels, inner);
    check_linear(kName, "mk", mk, width, slots);
    check_linear(kName, "mv", mv, slots, width);
    check_linear(kName, "out", out, inner, channels);
    const auto tokens = in(device, x);
    const auto logits = mk(device, split_heads(tokens, heads));  // (B, K, N, S)
    const auto weights = softmax<2>(device, logits);
    const auto total = sum(device, weights, {3});
    const auto share = pointwise(detail::SlotShare(), device, weights, total);
    auto&& space = intermediates<T>(kName, x);
    const auto mixed = space.template make<3>({sizes[0], sizes[1], inner});
    mv(device, share, split_heads(mixed, heads));
    return out(device, mixed);
  }

 private:
  static constexpr std::string_view kName = "multi_head_external_attention";
};

}  // namespace heed::inline HEED_ISA
