// SPDX-License-Identifier: Apache-2.0
// head_routing: which heads a token uses, or which tokens a head takes.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/chosen_mask.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/softmax.hpp"
#include "heed/block/top_k.hpp"

namespace heed::inline HEED_ISA {

enum class HeadChoice {
  kToken,  ///< every token keeps its top_k heads
  kExpert  ///< every head keeps its `capacity` tokens: it looks at all tokens, so it is not causal
};
enum class HeadScore { kSoftmax, kSigmoid };

struct HeadRoutingOptions {
  HeadChoice choice = HeadChoice::kToken;
  HeadScore score = HeadScore::kSoftmax;
  Index top_k = 2;          ///< heads per token, of token choice
  Index capacity = 1;       ///< tokens per head, of expert choice; usually ceil(N factor / H)
  bool renormalize = true;  ///< of token choice
};

namespace detail {

// Tokens and heads exchanged.
template <class X>
auto exchange_last(const X& x) {
  if constexpr (kOperandRank<X> == 2) {
    return x.permute({1, 0});
  } else {
    return x.permute({0, 2, 1});
  }
}

template <class D, class X, class T>
auto route_tokens(const D& device, const HeadRoutingOptions& options, const X& x, const Tensor<T, 2>& router) {
  constexpr std::string_view kName = "head_routing";
  constexpr int rank = kOperandRank<X>;
  const Index tokens = sizes_of(x)[rank - 2], heads = router.dimension(0);
  require_shape(kName, "router.weight", const_view(router).sizes, std::array<Index, 2>{heads, sizes_of(x)[rank - 1]});
  require(heads > 0 && options.top_k >= 0 && options.capacity >= 0, kName,
          "there must be heads, and top_k and capacity be 0 or more, got ", heads, ", ", options.top_k, " and ",
          options.capacity);
  const Tensor<T, 1> no_bias;
  const auto logits = linear(device, x, router, no_bias);
  const auto p = options.score == HeadScore::kSoftmax ? softmax(device, logits) : sigmoid(device, logits);
  if (options.choice == HeadChoice::kExpert) {
    const auto best = top_k(device, exchange_last(values_of(p)), std::min(options.capacity, tokens));
    const auto chosen = constant_with(chosen_mask<T>(best.indices, tokens), x);
    return multiply(device, p, exchange_last(view(chosen)));
  }
  const auto best = top_k(device, p, std::min(options.top_k, heads));
  auto kept = multiply(device, p, constant_with(chosen_mask<T>(best.indices, heads), x));
  if (!options.renormalize || options.top_k == 0) return kept;
  const auto total = sum(device, kept, {rank - 1});
  return divide(device, kept, total);
}

}  // namespace detail

/// gates = p where chosen, 0 elsewhere, p = softmax or sigmoid over the heads of x router^T.
///
///   heed::HeadRouting<float> route{{.choice = heed::HeadChoice::kToken, .top_k = 2}};
///   auto gates = route(x);                                  // or route(device, x)
///
/// x (N, C) or (B, N, C), gates (N, H) or (B, N, H), router.weight (H, C). Token choice keeps the top_k largest of each
/// token, and divides them by their sum if renormalize. Expert choice keeps the `capacity` largest of each head along
/// the tokens of a batch element, without renormalization; a token may be left with no head. top_k and capacity are
/// clamped; ties go to the lower index; the choice has no gradient. Throws heed::Error for shapes and options that do
/// not fit. Time O(N H C). Source: Shazeer et al. 2017 and Zhou et al., NeurIPS 2022, applied to heads (transcription).
template <Real T>
struct HeadRouting {
  using Options = HeadRoutingOptions;

  Options options = {};
  Tensor<T, 2> router = {};  ///< router.weight, (H, C)

  template <class F>
  void for_each_parameter(F&& f) {
    f("router.weight", router);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 2 || kOperandRank<X> == 3, "heed::HeadRouting: x is (N, C) or (B, N, C)");
    return detail::route_tokens(device, options, x, router);
  }
};

}  // namespace heed::inline HEED_ISA
