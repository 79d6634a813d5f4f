// SPDX-License-Identifier: Apache-2.0
// Gradients on a tape against central differences.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "catch.hpp"
#include "heed/autodiff/tape.hpp"
#include "heed/core/parameters.hpp"
#include "support/reference.hpp"

namespace heed::test {

/// check_gradients(f, x...) checks the gradients of f(tape, variables...), which gives a variable or a tuple of them.
/// Each x is a Tensor<double, Rank>, whose variable is handed to f, or an operator with parameters, which f knows
/// already: the parameters are found by address.
///
///   check_gradients([&](auto&, const auto& x) { return layer(x); }, x, layer);
///
/// With random cotangents, every gradient must be
/// - the central difference of the sum of output * cotangent, within `tolerance` of 1 + the largest;
/// - twice that when f is recorded twice;
/// - the same bits on 1, 2 and 3 threads, and when everything else is constant.
class GradientCheck {
 public:
  double tolerance = 1e-6;
  double step = 1e-5;

  template <class F, class... X>
  void operator()(const F& f, X&... x) {
    const auto record = [&](Tape<double>& tape) { return record_all(f, tape, x...); };
    (collect(x), ...);
    Tape<double> tape;
    auto outputs = record(tape);
    make_cotangents(outputs);
    backward(tape, DeviceRef(), outputs);
    const std::vector<std::vector<double>> once = gradients(tape);

    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      INFO("gradient of " << tensors_[i].name);
      double largest = 0, worst = 0;
      for (Index e = 0; e < tensors_[i].count; ++e) {
        double& value = tensors_[i].data[e];
        const double old = value;
        value = old + step;
        const double above = loss(record);
        value = old - step;
        const double below = loss(record);
        value = old;
        const double want = (above - below) / (2 * step), got = once[i][std::size_t(e)];
        largest = std::max(largest, std::abs(want));
        worst = std::abs(got - want) <= worst ? worst : std::abs(got - want);
      }
      CHECK(worst / (1 + largest) < tolerance);
    }

    for (const int threads : {2, 3}) {
      Eigen::ThreadPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads);
      backward(tape, device, outputs);
      CHECK(same_bits(gradients(tape), once));
    }

    // The same nodes are reached by both recordings.
    const auto again = record(tape);
    const auto both = std::tuple_cat(outputs, again);
    const auto cotangents = cotangents_;
    cotangents_.insert(cotangents_.end(), cotangents.begin(), cotangents.end());
    backward(tape, DeviceRef(), both);
    cotangents_ = cotangents;
    const auto twice = gradients(tape);
    for (std::size_t i = 0; i < once.size(); ++i)
      for (std::size_t e = 0; e < once[i].size(); ++e)
        CHECK(std::abs(twice[i][e] - 2 * once[i][e]) <= 1e-12 * (1 + std::abs(once[i][e])));

    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      INFO("gradient of " << tensors_[i].name << " alone");
      Tape<double> alone;
      for (std::size_t j = 0; j < tensors_.size(); ++j)
        if (j != i) tensors_[j].freeze(alone);
      const auto y = record(alone);
      backward(alone, DeviceRef(), y);
      const auto gradient = tensors_[i].gradient(alone);
      CHECK(same_bits({gradient}, {once[i]}));
    }
  }

 private:
  struct Perturbed {
    std::string name;
    double* data;
    Index count;
    std::function<void(Tape<double>&)> freeze;
    std::function<std::vector<double>(Tape<double>&)> gradient;
  };

  static bool same_bits(const std::vector<std::vector<double>>& a, const std::vector<std::vector<double>>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
      return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0);
    });
  }

  template <int Rank>
  void add(const std::string& name, Tensor<double, Rank>& x) {
    tensors_.push_back({name, x.data(), x.size(), [&x](Tape<double>& tape) { tape.constant(x); },
                        [&x](Tape<double>& tape) {
                          if (x.size() > 0 && !tape.knows(x)) return std::vector<double>(std::size_t(x.size()));
                          const auto d = tape.grad(x);
                          return std::vector<double>(d.data, d.data + d.count());
                        }});
  }
  template <class X>
  void collect(X& x) {
    if constexpr (HasParameters<X>) {
      for_each_parameter(x, [&](std::string_view name, auto& tensor) {
        if (!is_statistic(name)) add(std::string(name), tensor);
      });
    } else {
      add("input " + std::to_string(tensors_.size()), x);
    }
  }

  // Of a batch norm; it has no gradient.
  static bool is_statistic(std::string_view name) {
    const std::string_view last = name.substr(name.rfind('.') + 1);
    return last == "mean" || last == "var";
  }

  template <class Y>
  static auto as_tuple(const Y& y) {
    if constexpr (Recorded<Y>) {
      return std::make_tuple(y);
    } else {
      return std::apply([](const auto&... part) { return std::make_tuple(part...); }, y);
    }
  }

  template <class X>
  static auto variable(Tape<double>& tape, X& x) {
    if constexpr (HasParameters<X>) {
      return std::tuple<>();
    } else {
      return std::make_tuple(tape.input(x));
    }
  }
  template <class F, class... X>
  static auto record_all(const F& f, Tape<double>& tape, X&... x) {
    return as_tuple(std::apply([&](const auto&... variables) { return f(tape, variables...); },
                               std::tuple_cat(variable(tape, x)...)));
  }

  // Cotangents are one vector per output, in its shape.
  template <class... Y>
  void make_cotangents(const std::tuple<Y...>& outputs) {
    cotangents_.clear();
    std::apply(
        [&](const auto&... y) {
          (cotangents_.push_back([&] {
            const auto c = random_tensor<double, 1>({y.count()}, 900 + unsigned(cotangents_.size()));
            return std::vector<double>(c.data(), c.data() + c.size());
          }()),
           ...);
        },
        outputs);
  }
  template <class... Y>
  void backward(Tape<double>& tape, const DeviceRef& device, const std::tuple<Y...>& outputs) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      const auto pairs = std::tuple_cat(
          std::make_tuple(std::get<I>(outputs), View<const double, std::tuple_element_t<I, std::tuple<Y...>>::rank>(
                                                    cotangents_[I].data(), std::get<I>(outputs).sizes()))...);
      std::apply([&](const auto&... pair) { tape.backward(device, pair...); }, pairs);
    }
    (std::make_index_sequence<sizeof...(Y)>());
  }

  std::vector<std::vector<double>> gradients(Tape<double>& tape) const {
    std::vector<std::vector<double>> result;
    for (const Perturbed& x : tensors_) result.push_back(x.gradient(tape));
    return result;
  }

  template <class Record>
  double loss(const Record& record) const {
    Tape<double> tape;
    const auto outputs = record(tape);
    double sum = 0;
    std::size_t output = 0;
    const auto add_up = [&](const auto& y) {
      Tape<double>* owner = y.tape();
      const auto& c = cotangents_[output++];
      if (y.count() == 0) return;
      // Outputs may be parts of a variable: their elements are read through a copy.
      const auto plain = owner->constant(y.value());
      REQUIRE(plain.value().is_contiguous());
      for (std::size_t e = 0; e < c.size(); ++e) sum += c[e] * plain.value().data[e];
    };
    std::apply([&](const auto&... y) { (add_up(y), ...); }, outputs);
    return sum;
  }

  std::vector<Perturbed> tensors_;
  std::vector<std::vector<double>> cotangents_;
};

template <class F, class... X>
void check_gradients(const F& f, X&... x) {
  GradientCheck()(f, x...);
}

}  // namespace heed::test
