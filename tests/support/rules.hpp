// SPDX-License-Identifier: Apache-2.0
// Rules and what they mean, for tests that go through all of them.
#pragma once

#include <string>

#include "heed/attention/mask/standard.hpp"
#include "support/any_attention.hpp"

namespace heed::test {

inline Tensor<std::int32_t, 1> int_tensor(std::initializer_list<int> values) {
  Tensor<std::int32_t, 1> tensor(Index(values.size()));
  std::copy(values.begin(), values.end(), tensor.data());
  return tensor;
}

struct RuleCase {
  std::string name;
  ErasedRule rule;
  /// Of batch b, head h, position p of the query, key j.
  std::function<bool(Index b, Index h, Index p, Index j)> by_position;
  /// Keys of each batch, if that is what moves the positions.
  std::shared_ptr<const Tensor<std::int32_t, 1>> lengths = nullptr;
  /// No key outside of the rule's runs is hidden from all queries.
  bool tight = true;

  /// Of batch, head, query and key.
  std::function<bool(Index, Index, Index, Index)> definition(Index n, Index m) const {
    return [f = by_position, keys = lengths, n, m](Index b, Index h, Index i, Index j) {
      const Index count = keys ? Index((*keys)(b)) : m;
      return j < count && f(b, h, i + count - n, j);
    };
  }
};

/// Every rule of mask/standard.hpp, compositions of them and a user's own, for `batch` <= 2 and `m` keys.
inline std::vector<RuleCase> rule_cases(Index batch, Index m) {
  static std::vector<std::shared_ptr<const Tensor<std::int32_t, 1>>> kept;  // rules view their lengths
  const auto lengths = [&](Index first, Index second) {
    auto tensor = std::make_shared<Tensor<std::int32_t, 1>>(batch);
    for (Index b = 0; b < batch; ++b) (*tensor)(b) = std::int32_t(b == 0 ? first : second);
    kept.push_back(tensor);
    return std::shared_ptr<const Tensor<std::int32_t, 1>>(tensor);
  };
  const auto some = lengths(m / 3, m - m / 5), ends = lengths(0, m);
  const auto short_of = [](const auto& keys) { return [keys](Index b) { return Index((*keys)(b)); }; };
  const auto prefix_of = short_of(some);
  std::vector<RuleCase> cases;
  const auto add = [&](std::string name, ErasedRule rule, auto f, auto keys, bool tight = true) {
    cases.push_back({std::move(name), std::move(rule), f, keys, tight});
  };
  using B = Index;
  const std::nullptr_t all = nullptr;
  add(
      "everything", everything(), [](B, B, B, B) { return true; }, all);
  add(
      "nothing", !everything(), [](B, B, B, B) { return false; }, all);
  add(
      "causal", causal(), [](B, B, B p, B j) { return j <= p; }, all);
  add(
      "not causal", !causal(), [](B, B, B p, B j) { return j > p; }, all);
  add(
      "window_left(0)", window_left(0), [](B, B, B p, B j) { return j >= p; }, all);
  add(
      "window_left(7)", window_left(7), [](B, B, B p, B j) { return j >= p - 7; }, all);
  add(
      "window_right(3)", window_right(3), [](B, B, B p, B j) { return j <= p + 3; }, all);
  add(
      "window(5, 2)", window(5, 2), [](B, B, B p, B j) { return j >= p - 5 && j <= p + 2; }, all);
  add(
      "causal && window_left(20)", causal() && window_left(20), [](B, B, B p, B j) { return j <= p && j >= p - 20; },
      all);
  add(
      "not window(40, 10)", !window(40, 10), [](B, B, B p, B j) { return !(j >= p - 40 && j <= p + 10); }, all);
  add(
      "sink_tokens(0)", sink_tokens(0), [](B, B, B, B) { return false; }, all);
  add(
      "causal && (window_left(9) || sink_tokens(4))", causal() && (window_left(9) || sink_tokens(4)),
      [](B, B, B p, B j) { return j <= p && (j >= p - 9 || j < 4); }, all);
  add(
      "prefix", prefix(*some), [=](B b, B, B, B j) { return j < prefix_of(b); }, all);
  add(
      "causal || prefix", causal() || prefix(*some), [=](B b, B, B p, B j) { return j <= p || j < prefix_of(b); }, all);
  add(
      "key_lengths", key_lengths(*some), [](B, B, B, B) { return true; }, some);
  add(
      "key_lengths 0 and M", key_lengths(*ends), [](B, B, B, B) { return true; }, ends);
  add(
      "key_lengths && causal", key_lengths(*some) && causal(), [](B, B, B p, B j) { return j <= p; }, some);
  add(
      "causal && window_left(6) && key_lengths", causal() && window_left(6) && key_lengths(*ends),
      [](B, B, B p, B j) { return j <= p && j >= p - 6; }, ends);
  add(
      "when(false, causal)", when(false, causal()), [](B, B, B, B) { return true; }, all);
  add(
      "when(true, causal) && window_left(2)", when(true, causal()) && window_left(2),
      [](B, B, B p, B j) { return j <= p && j >= p - 2; }, all);
  add(
      "every third", visible([](const auto& at) {
        // (p - j) % 3 == 0, without integer division
        using T = typename std::remove_cvref_t<decltype(at)>::Scalar;
        const auto third = at.distance() * simd::Batch<T>(T(1) / T(3));
        return simd::abs(third - xsimd::nearbyint(third)) < simd::Batch<T>(T(0.1));
      }),
      [](B, B, B p, B j) { return (p - j) % 3 == 0; }, all, false);
  add(
      "by head", visible([](const auto& at) {
        return at.key() <= at.position() &&
               at.key() >= std::remove_cvref_t<decltype(at.key())>(
                               typename std::remove_cvref_t<decltype(at.key())>::value_type(5 * at.head));
      }),
      [](B, B h, B p, B j) { return j <= p && j >= 5 * h; }, all, false);
  add(
      "even batches and heads", visible([](const auto& at) { return (at.batch + at.head) % 2 == 0; }),
      [](B b, B h, B, B) { return (b + h) % 2 == 0; }, all, false);
  return cases;
}

}  // namespace heed::test
