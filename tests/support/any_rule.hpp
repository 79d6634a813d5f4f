// SPDX-License-Identifier: Apache-2.0
// Any visibility rule behind one type, so that the attention is compiled once for all of them.
#pragma once

#include <memory>

#include "heed/attention/mask/rule.hpp"

namespace heed::test {

/// Any rule that lays out up to `Planes` planes: with none, the kernels take their path without planes.
template <int Planes>
class RuleOfPlanes : public VisibilityRuleBase {
 public:
  static constexpr int kPlanes = Planes;

  template <VisibilityRule R>
  requires(!std::same_as<R, RuleOfPlanes>) RuleOfPlanes(R rule)  // NOLINT: implicit, as std::function is
      : held_(std::make_shared<Held<R>>(std::move(rule))) {
    static_assert(heed::detail::kPlanesOf<R> <= Planes);
  }

  /// The same rule, which says nothing about runs of keys.
  RuleOfPlanes without_runs() const {
    RuleOfPlanes copy = *this;
    copy.runs_ = false;
    return copy;
  }

  template <Real T, Lanes L>
  simd::Mask<T> operator()(const At<T, L>& at) const {
    return held_->test(at);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    held_->fill(tile, plane, plane_size);
  }
  Run run(const QueryTile& tile, Index key) const { return runs_ ? held_->run(tile, key) : Run{Seen::kSome, kEndless}; }
  Index key_count(Index batch, Index keys) const { return held_->key_count(batch, keys); }
  void check(const AttentionShape& shape) const { held_->check(shape); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual simd::Mask<float> test(const At<float, Lanes::kQueries>&) const = 0;
    virtual simd::Mask<float> test(const At<float, Lanes::kKeys>&) const = 0;
    virtual simd::Mask<double> test(const At<double, Lanes::kQueries>&) const = 0;
    virtual simd::Mask<double> test(const At<double, Lanes::kKeys>&) const = 0;
    virtual void fill(const PairTile&, float*, Index) const = 0;
    virtual void fill(const PairTile&, double*, Index) const = 0;
    virtual Run run(const QueryTile&, Index key) const = 0;
    virtual Index key_count(Index batch, Index keys) const = 0;
    virtual void check(const AttentionShape&) const = 0;
  };
  template <class R>
  struct Held final : Base {
    explicit Held(R r) : rule(std::move(r)) {}
    simd::Mask<float> test(const At<float, Lanes::kQueries>& at) const override { return heed::detail::test(rule, at); }
    simd::Mask<float> test(const At<float, Lanes::kKeys>& at) const override { return heed::detail::test(rule, at); }
    simd::Mask<double> test(const At<double, Lanes::kQueries>& at) const override {
      return heed::detail::test(rule, at);
    }
    simd::Mask<double> test(const At<double, Lanes::kKeys>& at) const override { return heed::detail::test(rule, at); }
    void fill(const PairTile& tile, float* plane, Index size) const override {
      heed::detail::fill_planes(rule, tile, plane, size);
    }
    void fill(const PairTile& tile, double* plane, Index size) const override {
      heed::detail::fill_planes(rule, tile, plane, size);
    }
    Run run(const QueryTile& tile, Index key) const override { return heed::detail::run_of(rule, tile, key); }
    Index key_count(Index batch, Index keys) const override { return heed::detail::key_count_of(rule, batch, keys); }
    void check(const AttentionShape& shape) const override { heed::detail::check_part(rule, shape); }
    R rule;
  };

  std::shared_ptr<const Base> held_;
  bool runs_ = true;
};

using ErasedRule = RuleOfPlanes<0>;
using AnyRule = RuleOfPlanes<2>;

}  // namespace heed::test
