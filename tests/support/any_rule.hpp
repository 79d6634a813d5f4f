// SPDX-License-Identifier: Apache-2.0
// Any visibility rule behind one type, so that the attention is compiled once for all of them.
#pragma once

#include <memory>

#include "heed/attention/mask/rule.hpp"

namespace heed::test {

class AnyRule : public VisibilityRuleBase {
 public:
  static constexpr int kPlanes = 2;

  template <VisibilityRule Rule>
  requires(!std::same_as<Rule, AnyRule>) explicit AnyRule(const Rule& rule)
      : rule_(std::make_shared<Holder<Rule>>(rule)) {
    static_assert(heed::detail::kPlanesOf<Rule> <= kPlanes);
  }

  template <Real T, Lanes L>
  simd::Mask<T> operator()(const At<T, L>& at) const {
    return rule_->test(at);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    rule_->fill(tile, plane, plane_size);
  }
  Run run(const QueryTile& tile, Index key) const { return rule_->run(tile, key); }
  Index key_count(Index batch, Index keys) const { return rule_->key_count(batch, keys); }
  void check(const AttentionShape& shape) const { rule_->check(shape); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual simd::Mask<float> test(const At<float, Lanes::kQueries>&) const = 0;
    virtual simd::Mask<float> test(const At<float, Lanes::kKeys>&) const = 0;
    virtual simd::Mask<double> test(const At<double, Lanes::kQueries>&) const = 0;
    virtual simd::Mask<double> test(const At<double, Lanes::kKeys>&) const = 0;
    virtual void fill(const PairTile&, float*, Index) const = 0;
    virtual void fill(const PairTile&, double*, Index) const = 0;
    virtual Run run(const QueryTile&, Index) const = 0;
    virtual Index key_count(Index, Index) const = 0;
    virtual void check(const AttentionShape&) const = 0;
  };

  template <class Rule>
  struct Holder : Base {
    Rule rule;
    explicit Holder(const Rule& r) : rule(r) {}
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
    Index key_count(Index b, Index keys) const override { return heed::detail::key_count_of(rule, b, keys); }
    void check(const AttentionShape& shape) const override { heed::detail::check_part(rule, shape); }
  };

  std::shared_ptr<const Base> rule_;
};

}  // namespace heed::test
