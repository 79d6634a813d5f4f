// SPDX-License-Identifier: Apache-2.0
// attention_mask: the structured masks of long-context training, as rules and as dense masks.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "heed/attention/mask/dense.hpp"
#include "heed/attention/mask/documents.hpp"

namespace heed::inline HEED_ISA {

/// With t = i + m - n, doc(i) the document that token i is in, and start(d) the first token of document d:
enum class MaskPattern {
  kFull,                 ///< every pair
  kCausal,               ///< j <= t
  kSlidingWindow,        ///< t - left <= j <= t + right
  kDocument,             ///< doc(i) = doc(j)
  kCausalDocument,       ///< doc(i) = doc(j) and j <= i
  kShareQuestion,        ///< j <= i and (doc(j) = 0 or doc(i) = doc(j))
  kCausalBlockwise,      ///< j <= i and (doc(i) = doc(j) or doc(i) is the last)
  kPrefixLm,             ///< j < prefix or j <= i
  kPrefixLmDocument,     ///< doc(i) = doc(j) and (j - start(doc(j)) < prefix or j <= i)
  kGlobalSlidingWindow,  ///< i < global_tokens or j < global_tokens or i - left <= j <= i + right
  kBlockCausalDocument,  ///< doc(i) = doc(j) and j < (floor(i / block_size) + 1) * block_size
};

/// The names of the patterns, in their order.
inline constexpr std::array<std::string_view, 11> kMaskPatternNames{"full",
                                                                    "causal",
                                                                    "sliding_window",
                                                                    "document",
                                                                    "causal_document",
                                                                    "share_question",
                                                                    "causal_blockwise",
                                                                    "prefix_lm",
                                                                    "prefix_lm_document",
                                                                    "global_sliding_window",
                                                                    "block_causal_document"};

/// The pattern of a name, "full" to "block_causal_document".
inline MaskPattern mask_pattern(std::string_view name) {
  for (std::size_t x = 0; x < kMaskPatternNames.size(); ++x)
    if (kMaskPatternNames[x] == name) return MaskPattern(x);
  fail("mask_pattern", "there is no pattern named ", name);
}

/// One of the twelve structured masks of a long-context benchmark (eleven here; block masks are block_mask()), chosen
/// at run time.
///
///   heed::AttentionMask mask{{.pattern = heed::MaskPattern::kCausalDocument, .doc_lengths = {100, 28}}};
///   heed::Tensor<std::uint8_t, 2> dense = mask(128);                          // 1 = visible
///   mask.with_rule([&](auto rule) { out = heed::softmax_attention(rule)(q, k, v); });
///
/// The attention never needs the dense mask: it is written from the same rule. Patterns but the first three need m = n.
/// Only causal and sliding_window leave rows empty, when m < n. O(n m) to write. Throws heed::Error for a window
/// below -1, lengths that are not positive or do not sum to n, a negative prefix or global_tokens, a block size below
/// 1. Source: Bu et al. 2026, Long-Context Attention Benchmark, whose two descriptions of a mask differ in places; here
/// prefixes have exactly `prefix` keys, as in its range form.
///
/// No gradient: visibility is piecewise constant.
struct AttentionMask {
  struct Options {
    MaskPattern pattern = MaskPattern::kFull;
    std::array<Index, 2> window{-1, -1};  ///< keys before and after, excluding self; -1: no limit
    std::vector<Index> doc_lengths = {};  ///< tokens, positive, in order, summing to n
    Index prefix = 0;                     ///< tokens
    Index global_tokens = 0;              ///< tokens, at the start
    Index block_size = 1;                 ///< tokens
  };
  Options options = {};

  /// Calls f(rule) with the pattern's rule and returns what it returns, which must be the same type for any rule.
  template <class F>
  decltype(auto) with_rule(F&& f) const {
    const auto& o = options;
    switch (o.pattern) {
      case MaskPattern::kCausal:
        return f(causal());
      case MaskPattern::kSlidingWindow:
        return f(sliding_window(o.window[0], o.window[1]));
      case MaskPattern::kDocument:
        return f(documents(o.doc_lengths));
      case MaskPattern::kCausalDocument:
        return f(causal_documents(o.doc_lengths));
      case MaskPattern::kShareQuestion:
        return f(share_question(o.doc_lengths));
      case MaskPattern::kCausalBlockwise:
        return f(causal_blockwise(o.doc_lengths));
      case MaskPattern::kPrefixLm:
        return f(prefix_lm(o.prefix));
      case MaskPattern::kPrefixLmDocument:
        return f(prefix_lm_documents(o.doc_lengths, o.prefix));
      case MaskPattern::kGlobalSlidingWindow:
        return f(global_sliding_window(o.global_tokens, o.window[0], o.window[1]));
      case MaskPattern::kBlockCausalDocument:
        return f(block_causal_documents(o.doc_lengths, o.block_size));
      case MaskPattern::kFull:
        break;
    }
    return f(everything());
  }

  /// The mask of n queries and m keys, 1 = visible.
  Tensor<std::uint8_t, 2> operator()(Index n, Index m) const {
    require(n >= 0 && m >= 0, kName, "sizes must be 0 or more, got n = ", n, " and m = ", m);
    require(m == n || options.pattern <= MaskPattern::kSlidingWindow, kName, "the pattern ",
            kMaskPatternNames[std::size_t(options.pattern)], " needs m = n, got n = ", n, " and m = ", m);
    const AttentionShape shape{.batch = 1, .heads = 1, .kv_heads = 1, .queries = n, .keys = m};
    Tensor<std::uint8_t, 2> mask(n, m);
    with_rule([&](const auto& rule) { dense_mask(rule, shape, view(mask).template promote<4>()); });
    return mask;
  }
  Tensor<std::uint8_t, 2> operator()(Index n) const { return (*this)(n, n); }

 private:
  static constexpr std::string_view kName = "attention_mask";
};

}  // namespace heed::inline HEED_ISA
