// SPDX-License-Identifier: Apache-2.0
// target_attention: one query, the candidate item, over a sequence of behaviours.
#pragma once

#include <cmath>
#include <optional>

#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

inline void check_target_inputs(std::string_view where, const std::array<Index, 2>& query,
                                const std::array<Index, 3>& key, const std::array<Index, 3>& value,
                                const std::optional<View<const std::uint8_t, 2>>& mask, Index time_dim) {
  require(key[0] == query[0] && key[2] == query[1], where, "key must have shape (B, M, D) = (", query[0], ", M, ",
          query[1], "), got ", shape_text(key));
  require(value[0] == key[0] && value[1] == key[1], where, "value must have shape (B, M, Dv) = (", key[0], ", ", key[1],
          ", Dv), got ", shape_text(value));
  if (mask) require_shape(where, "mask", mask->sizes, std::array<Index, 2>{key[0], key[1]});
  require(query[1] > 0 && time_dim >= 0 && time_dim < query[1], where,
          "time_dim must be in 0 .. D - 1 with D = ", query[1], ", got ", time_dim);
}

/// The query (B, D), each part of it divided by the root of its width: the last `time_dim` channels are a part of their
/// own. Its products with keys are then the scores.
template <Device D, Operand Q>
auto scaled_target_query(const D& device, const Q& query, Index time_dim) {
  const Index rest = sizes_of(query)[1] - time_dim;
  const auto part = [&](Index first, Index width) {
    return scale(device, view(query).slice(1, first, width), 1 / std::sqrt(double(width)));
  };
  const auto content = part(0, rest);
  return time_dim == 0 ? concat<1>(device, content) : concat<1>(device, content, part(rest, time_dim));
}

}  // namespace detail

/// How a query is compared with a key.
enum class TargetScore {
  kDot,  ///< q.k / sqrt(D)
  kMlp,  ///< a small network of [q ; k ; q - k ; q * k], divided by D
};

/// out = sum over j of weights_j value_j, weights = softmax(score(query, key_j)). Decoupled embeddings (DARE) are keys
/// and values that come from tables of their own.
///
///   heed::TargetAttention<float> attend{{.time_dim = 8}};
///   auto [out, weights] = attend(query, key, value);        // or attend(device, query, key, value, {.mask = mask})
///
/// query (B, D), key (B, M, D), value (B, M, Dv), mask (B, M) of std::uint8_t, 1 = visible; out (B, Dv), weights (B,
/// M). kDot: q.k / sqrt(D); with time_dim > 0 the last time_dim channels are a time embedding and scored apart, q.k /
/// sqrt(D - time_dim) of the rest plus q.k / sqrt(time_dim) of them. kMlp: fc2(PReLU(fc1(f))) / D of f = [q ; k ; q - k
/// ; q * k], PReLU with mlp.slope below 0: fc1 (R, 4 D), slope (1), fc2 (1, R), both with a bias; the authors have R =
/// 36 and a slope that starts at 0.1. kMlp does not look at time_dim.
///
/// A hidden key or value never changes a result, unless its whole row is hidden: such a row gives the mean of all M
/// values, as the authors' code does, which sets hidden scores to -2^32 + 1. M = 0 gives 0. Throws heed::Error for
/// shapes and options that do not fit. Time O(B M (D + Dv)), with kMlp O(B M R D). Source: Feng et al. 2025,
/// "Long-Sequence Recommendation Models Need Decoupled Embeddings"; the network is that of DIN (Zhou et al. 2018).
template <Real T>
struct TargetAttention {
  struct Options {
    TargetScore score = TargetScore::kDot;
    Index time_dim = 0;  ///< channels at the end of query and key; 0: none
  };
  /// Inputs that a call may have: a view, whose tensor must outlive the call, and of a recorded one the recording.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> mask = std::nullopt;  ///< (B, M)
  };
  /// Tensors, or variables where one of query, key and value is one.
  template <class Out, class Weights>
  struct Result {
    Out out;
    Weights weights;
  };
  struct Mlp {
    Linear<T> fc1 = {}, fc2 = {};
    Tensor<T, 1> slope = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_part("fc1.", fc1, f);
      f("slope", slope);
      visit_part("fc2.", fc2, f);
    }
  };

  Options options = {};
  Mlp mlp = {};  ///< empty with kDot

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("mlp.", mlp, f, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& query, const K& key, const V& value, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), query, key, value, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& query_like, const K& key_like, const V& value_like,
                  const Inputs& inputs = {}) const {
    static_assert(kOperandRank<Q> == 2 && kOperandRank<K> == 3 && kOperandRank<V> == 3,
                  "heed::TargetAttention: query is (B, D), key (B, M, D) and value (B, M, Dv)");
    check(sizes_of(query_like), sizes_of(key_like), sizes_of(value_like), inputs);
    const auto query = parameter_with(query_like, key_like, value_like);
    const auto key = parameter_with(key_like, query_like, value_like);
    const auto value = parameter_with(value_like, query_like, key_like);
    if (options.score == TargetScore::kDot) {
      const auto scaled = detail::scaled_target_query(device, query, options.time_dim);
      const auto scores = matmul(device, view(scaled).split(0, 1), view(key).permute({0, 2, 1}));
      return mix(device, view(scores).merge(1), value, inputs);
    }
    const auto row = view(query).split(0, 1);
    const auto features = concat<2>(device, row, key, subtract(device, row, key), multiply(device, row, key));
    const auto scores = mlp.fc2(device, prelu(device, mlp.fc1(device, features), mlp.slope));
    return mix(device, scale(device, view(scores).merge(1), 1 / double(sizes_of(query)[1])), value, inputs);
  }

 private:
  static constexpr std::string_view kName = "target_attention";

  template <class D, class S, class V>
  static auto mix(const D& device, const S& scores, const V& value, const Inputs& inputs) {
    if (!inputs.mask) return weigh(device, scores, value);
    // A hidden score is -infinity where another is visible, and 0 as all others where none is.
    const auto shown = visible_or_all(*inputs.mask);
    const auto filled = masked_fill(device, scores, *inputs.mask, 0);
    return weigh(device, masked_fill(device, filled, shown, -std::numeric_limits<double>::infinity()),
                 masked_fill(device, value, view(shown).split(1, 1), 0));
  }

  template <class D, class S, class V>
  static auto weigh(const D& device, const S& scores, const V& value) {
    auto weights = softmax(device, scores);
    const auto mixed = matmul(device, view(weights).split(0, 1), value);
    auto out = contiguous(device, view(mixed).merge(1));
    return Result<decltype(out), decltype(weights)>{std::move(out), std::move(weights)};
  }

  void check(const std::array<Index, 2>& query, const std::array<Index, 3>& key, const std::array<Index, 3>& value,
             const Inputs& in) const {
    detail::check_target_inputs(kName, query, key, value, in.mask, options.time_dim);
    if (options.score == TargetScore::kDot) return;
    const Index hidden = mlp.fc1.weight.dimension(0);
    check_linear(kName, "mlp.fc1", mlp.fc1, 4 * query[1], hidden);
    require_shape(kName, "mlp.slope", const_view(mlp.slope).sizes, std::array<Index, 1>{1});
    check_linear(kName, "mlp.fc2", mlp.fc2, hidden, 1);
  }
};

}  // namespace heed::inline HEED_ISA
