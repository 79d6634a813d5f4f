// SPDX-License-Identifier: Apache-2.0
// two_stage_target_attention: search the behaviours that matter, then attend to them alone.
#pragma once

#include "heed/block/gather.hpp"
#include "heed/block/row_scores.hpp"
#include "heed/block/top_k.hpp"
#include "heed/self/target_attention.hpp"

namespace heed::inline HEED_ISA {

/// The top_k behaviours by attention score, and the softmax among them.
///
///   heed::TwoStageTargetAttention attend{{.top_k = 20, .time_dim = 8}};
///   auto [out, indices, features] = attend(query, key, value, target_value);       // or (device, .., {.mask = mask})
///
/// query (B, D), key (B, M, D), value (B, M, Dv), target_value (B, Dv), the candidate's own value embedding; mask (B,
/// M) of std::uint8_t, 1 = visible. out (B, Dv); indices (B, top_k) int32, ascending, -1 in unused places at the end;
/// features (B, 3 Dv) = [target_value ; out ; target_value * out]. Scores are those of TargetAttention's kDot. Of equal
/// scores that of the lower index is chosen; gradients flow through the chosen scores, not through the choice.
///
/// Where fewer than top_k are visible those are used alone, and where none is, out = 0. A hidden key or value never
/// changes a result. Throws heed::Error for shapes and options that do not fit. Time O(B (M D + top_k (D + Dv))); the
/// search reads the keys only, which may be narrower than the values. Source: Feng et al. 2025 (DARE), the soft search
/// of DIN; fewer than top_k is our rule (the authors' code fills up with padding and attends to it).
struct TwoStageTargetAttention {
  struct Options {
    Index top_k = 20;
    Index time_dim = 0;  ///< channels at the end of query and key; 0: none
  };
  /// Inputs that a call may have: a view, whose tensor must outlive the call.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> mask;  ///< (B, M)
  };
  /// out and features are tensors, or variables where one of the operands is one.
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::int32_t, 2> indices;
    Out features;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand W>
  auto operator()(const Q& query, const K& key, const V& value, const W& target_value,
                  const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), query, key, value, target_value, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand W>
  auto operator()(const D& device, const Q& query_like, const K& key_like, const V& value_like, const W& target_like,
                  const Inputs& inputs = {}) const {
    static_assert(
        kOperandRank<Q> == 2 && kOperandRank<K> == 3 && kOperandRank<V> == 3 && kOperandRank<W> == 2,
        "heed::TwoStageTargetAttention: query is (B, D), key (B, M, D), value (B, M, Dv) and target_value (B, Dv)");
    const auto query = parameter_with(query_like, key_like, value_like, target_like);
    const auto key = parameter_with(key_like, query_like, value_like, target_like);
    const auto value = parameter_with(value_like, query_like, key_like, target_like);
    const auto target_value = parameter_with(target_like, query_like, key_like, value_like);
    detail::check_target_inputs(kName, sizes_of(query), sizes_of(key), sizes_of(value), inputs.mask, options.time_dim);
    require_shape(kName, "target_value", sizes_of(target_value),
                  std::array<Index, 2>{sizes_of(value)[0], sizes_of(value)[2]});
    require(options.top_k > 0, kName, "top_k must be 1 or more, got ", options.top_k);

    constexpr double none = -std::numeric_limits<double>::infinity();
    const auto scaled = detail::scaled_target_query(device, query, options.time_dim);
    auto indices = search(device, values_of(scaled), values_of(key), inputs);
    const auto keys = gather(device, key, indices);
    const auto values = gather(device, value, indices);
    const auto scores = matmul(device, view(scaled).split(0, 1), view(keys).permute({0, 2, 1}));
    const auto weights = softmax(device, masked_fill(device, view(scores).merge(1), gathered_mask(indices), none));
    const auto mixed = matmul(device, view(weights).split(0, 1), values);
    auto out = contiguous(device, view(mixed).merge(1));
    auto features = concat<1>(device, target_value, out, multiply(device, target_value, out));
    return Result<decltype(out)>{std::move(out), std::move(indices), std::move(features)};
  }

 private:
  static constexpr std::string_view kName = "two_stage_target_attention";

  template <class D, class U, class UK>
  Tensor<std::int32_t, 2> search(const D& device, const View<const U, 2>& query, const View<const UK, 3>& key,
                                 const Inputs& in) const {
    auto products = row_scores(device, query, key);
    const auto scores = view(products);
    if (in.mask) masked_fill(device, scores, *in.mask, -std::numeric_limits<double>::infinity(), scores);
    return top_k(device, scores, options.top_k, TopKOrder::kIndex).indices;
  }
};

}  // namespace heed::inline HEED_ISA
