// SPDX-License-Identifier: Apache-2.0
// One conformance case: what an adapter reads inputs, parameters and attributes from, and hands its outputs to.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "heed/autodiff.hpp"
#include "heed/core/safetensors.hpp"
#include "heed/core/tensor.hpp"

namespace conformance {

using heed::Index;

/// rank<4>: how many axes a tensor is read with. An argument, because `c.in<4>("q")` would need the word `template` in
/// an adapter, whose case is of any type.
template <int R>
struct RankTag {};
template <int R>
inline constexpr RankTag<R> rank{};

/// What FORMAT.md allows an operator that runs in T.
struct Tolerances {
  double outputs, gradients;
};
template <class T>
inline constexpr Tolerances kTolerances = std::same_as<T, float> ? Tolerances{2e-5, 1e-4} : Tolerances{1e-11, 1e-10};

/// One tensor against the file's: the error is max|got - want| / (1 + max|want|), and max|got - want| for integers.
struct Comparison {
  std::string tensor = "-";
  double error = 0, tolerance = 0;
  std::string why;  // in words, where the error alone does not say it

  bool passed() const { return error <= tolerance; }  // false for NaN
};

/// A computed tensor in row-major order.
struct Computed {
  std::vector<Index> shape;
  std::variant<std::vector<double>, std::vector<std::int64_t>> values;
};

/// What does not depend on the type that the operator runs in. An attribute or tensor that is not there, or is of
/// another kind, throws.
class CaseFile {
 public:
  CaseFile(const std::string& path, Tolerances tolerances);
  ~CaseFile();
  CaseFile(const CaseFile&) = delete;
  CaseFile& operator=(const CaseFile&) = delete;

  bool has_in(std::string_view name) const { return has("in.", name); }
  bool has_param(std::string_view name) const { return has("param.", name); }
  bool has_out(std::string_view name) const { return has("out.", name); }

  /// Whether an attribute is there and not null. Null means "use the default formula".
  bool has_attr(std::string_view name) const;
  bool flag(std::string_view name) const;
  Index integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::optional<double> number_or_null(std::string_view name) const;
  std::optional<Index> integer_or_null(std::string_view name) const;
  // Lists; a single value is a list of one.
  std::vector<bool> flags(std::string_view name) const;
  std::vector<Index> integers(std::string_view name) const;
  std::vector<double> numbers(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  std::vector<std::vector<Index>> integer_lists(std::string_view name) const;

  /// An input of indices or lengths, and one that is a mask (1 = visible). They live as long as the case: a recording
  /// refers to them.
  template <int R>
  const heed::Tensor<std::int32_t, R>& indices(RankTag<R>, std::string_view name) const {
    return keep(read<std::int32_t, R>("in.", name));
  }
  template <int R>
  const heed::Tensor<std::uint8_t, R>& mask(RankTag<R>, std::string_view name) const {
    return keep(read<std::uint8_t, R>("in.", name));
  }

  /// The shape of an input.
  const std::vector<Index>& shape(std::string_view name) const { return file_.shape(used("in.", name)); }

  /// Compares an output with the file's: anything a heed::View can be made of, a std::vector, or a number. An output
  /// that the file does not have is ignored (has_out asks, where computing it is dear).
  template <class X>
  void out(std::string_view name, const X& tensor) {
    if (!has_out(name)) return;
    Computed got = computed(tensor);
    // A loss is one element of rank 1 here, and a number in the file.
    if (file_.shape(std::string("out.").append(name)).empty() && got.shape == std::vector<Index>{1}) got.shape.clear();
    compare("out.", name, got, tolerances_.outputs);
  }

  // For the runner.
  const std::string& operator_name() const { return operator_name_; }
  /// Whether the file has gradients to compare with.
  bool has_gradients() const;
  /// One comparison per output of the file, and per gradient if asked for; those never computed are failures.
  std::vector<Comparison> results(bool gradients) const;
  /// Inputs, parameters and attributes that the adapter never asked for: the first suspects when a case fails.
  std::vector<std::string> unread() const;

 protected:
  bool has(std::string_view kind, std::string_view name) const;
  /// The full name of a tensor that is now known to have been asked for.
  std::string used(std::string_view kind, std::string_view name) const;
  void compare(std::string_view kind, std::string_view name, const Computed& got, double tolerance);
  /// A tensor that fails whatever its values are.
  void reject(std::string_view kind, std::string_view name, std::string why);

  /// Visits parameters that are now known to have been asked for. Named, as all visitors here, to be of one type for
  /// all operators.
  struct Used {
    const CaseFile& file;
    const std::string& prefix;
    template <class X>
    void operator()(std::string_view name, X&) const {
      file.used("param.", prefix + std::string(name));
    }
  };

  template <class T, int R>
  heed::Tensor<T, R> read(std::string_view kind, std::string_view name) const {
    heed::Tensor<T, R> tensor;
    file_.read(used(kind, name), tensor);
    return tensor;
  }

  template <class X>
  static Computed computed(const X& tensor) {
    if constexpr (std::is_arithmetic_v<X>) {
      return packed(heed::View<const X, 0>(&tensor, {}));
    } else if constexpr (heed::TensorLike<X>) {
      return packed(heed::const_view(tensor));
    } else {
      return packed(heed::View<const typename X::value_type, 1>(tensor.data(), {Index(tensor.size())}));
    }
  }

  template <class X>
  const X& keep(X x) const {
    const auto kept = std::make_shared<const X>(std::move(x));
    kept_.push_back(kept);
    return *kept;
  }

  heed::Safetensors file_;
  Tolerances tolerances_;

 private:
  struct Attributes;  // keeps the JSON library out of the adapters
  template <class U>
  U attr(std::string_view name) const;
  template <class U>
  std::vector<U> attr_list(std::string_view name) const;

  template <class U, int R>
  static Computed packed(const heed::View<U, R>& view) {
    using Value = std::conditional_t<std::integral<std::remove_const_t<U>>, std::int64_t, double>;
    Computed result;
    result.shape.assign(view.sizes.begin(), view.sizes.end());
    std::vector<Value> values;
    append(view, values);
    result.values = std::move(values);
    return result;
  }

  template <class U, int R, class Value>
  static void append(const heed::View<U, R>& view, std::vector<Value>& to) {
    if constexpr (R == 0) {
      to.push_back(static_cast<Value>(*view.data));
    } else if constexpr (R == 1) {
      for (Index i = 0; i < view.size(0); ++i) to.push_back(static_cast<Value>(view(i)));
    } else {
      for (Index i = 0; i < view.size(0); ++i) append(view.select(0, i), to);
    }
  }

  std::string operator_name_;
  std::unique_ptr<Attributes> attributes_;
  std::map<std::string, Comparison, std::less<>> compared_;
  mutable std::set<std::string, std::less<>> unread_;
  mutable std::vector<std::shared_ptr<const void>> kept_;
};

/// A case that runs in T. RecordingCase has the same members: adapters take any case, so that they serve both.
template <class T>
class Case : public CaseFile {
 public:
  using Scalar = T;

  explicit Case(const std::string& path) : CaseFile(path, kTolerances<T>) {}

  template <int R>
  heed::Tensor<T, R> in(RankTag<R>, std::string_view name) const {
    return read<T, R>("in.", name);
  }
  template <int R>
  heed::Tensor<T, R> param(RankTag<R>, std::string_view name) const {
    return read<T, R>("param.", name);
  }

  /// Fills the parameters of an operator from `param.*`, by its for_each_parameter.
  template <heed::HasParameters Op>
  void parameters(Op& op, const std::string& prefix = "") const {
    heed::load(op, file_, "param." + prefix);
    const Used used{*this, prefix};
    heed::for_each_parameter(op, used);
  }

  /// op(arguments...) for an operator that is given no tensor, and so would not know the tape.
  template <class Op, class... X>
  auto call(const Op& op, const X&... arguments) const {
    return op(arguments...);
  }
};

/// A case that also compares gradients: `in` and `param` hand out variables on a tape, parameters are known by their
/// address. With the last output that has a cotangent the gradients are computed, while all that the adapter has made,
/// to which the tape refers, is still alive.
template <class T>
class RecordingCase : public CaseFile {
 public:
  using Scalar = T;

  explicit RecordingCase(const std::string& path) : CaseFile(path, kTolerances<T>) {
    for (const std::string& name : file_.names()) pending_ += name.starts_with("cot.");
    loss_ = tape_.template make<1>({1});
    *tape_.written(loss_).data = 0;
  }

  template <int R>
  heed::Var<T, R> in(RankTag<R>, std::string_view name) {
    return variable<R>("in.", name);
  }
  template <int R>
  heed::Var<T, R> param(RankTag<R>, std::string_view name) {
    return variable<R>("param.", name);
  }

  template <heed::HasParameters Op>
  void parameters(Op& op, const std::string& prefix = "") {
    heed::load(op, file_, "param." + prefix);
    const GradientsWanted wanted{*this, prefix};
    heed::for_each_parameter(op, wanted);
  }

  template <class Op, class... X>
  auto call(const Op& op, const X&... arguments) {
    return op(tape_, arguments...);
  }

  template <class X>
  void out(std::string_view name, const X& x) {
    if constexpr (heed::Recorded<X>) {
      CaseFile::out(name, x.value());
      if (!has("cot.", name)) return;
      const auto& cotangent = keep(this->template cotangent<X::rank>(name));
      tape_.on_backward(loss_, [this, x, &cotangent] {
        const auto d = tape_.accumulate(x);
        if (d.data) heed::kernel::copy<heed::kernel::Write::kAdd>(tape_.device(), heed::const_view(cotangent), d);
      });
      if (--pending_ == 0) compare_gradients();
    } else {
      CaseFile::out(name, x);
    }
  }

 private:
  struct GradientsWanted {
    RecordingCase& c;
    const std::string& prefix;
    template <class X>
    void operator()(std::string_view name, X& tensor) const {
      c.wanted_.push_back({c.used("param.", prefix + std::string(name)), [&c = c, &tensor] {
                             c.tape_.remember(tensor);  // one that no block has seen has the gradient 0
                             return computed(c.tape_.grad(tensor));
                           }});
    }
  };

  struct Wanted {
    std::string name;  // with in. or param.
    std::function<Computed()> gradient;
  };

  // That of a number, a file's loss, has rank 1 as the loss has.
  template <int R>
  heed::Tensor<T, R> cotangent(std::string_view name) const {
    if constexpr (R == 1) {
      const std::string full = used("cot.", name);
      if (file_.shape(full).empty()) {
        std::vector<T> value;
        file_.read(full, value);
        heed::Tensor<T, 1> one(1);
        one(0) = value.at(0);
        return one;
      }
    }
    return read<T, R>("cot.", name);
  }

  template <int R>
  heed::Var<T, R> variable(std::string_view kind, std::string_view name) {
    const heed::Var<T, R> x = tape_.input(read<T, R>(kind, name));
    wanted_.push_back({std::string(kind).append(name), [this, x] { return computed(tape_.grad(x)); }});
    return x;
  }

  // They must also be the same bits on several threads.
  void compare_gradients() {
    std::erase_if(wanted_, [this](const Wanted& wanted) { return !has("grad.", wanted.name); });
    tape_.backward(loss_);
    std::vector<Computed> once;
    for (const Wanted& wanted : wanted_) {
      once.push_back(wanted.gradient());
      compare("grad.", wanted.name, once.back(), tolerances_.gradients);
    }
    for (const int threads : {2, 3}) {
      Eigen::ThreadPool pool(threads);
      tape_.backward(Eigen::ThreadPoolDevice(&pool, threads), loss_);
      for (std::size_t i = 0; i < wanted_.size(); ++i)
        if (wanted_[i].gradient().values != once[i].values)
          reject("grad.", wanted_[i].name, "has other bits on " + std::to_string(threads) + " threads");
    }
  }

  heed::Tape<T> tape_;
  heed::Var<T, 1> loss_;  // the sum of all outputs times their cotangents
  int pending_ = 0;       // cotangents whose outputs are not there yet
  std::vector<Wanted> wanted_;
};

/// The type that a case runs in.
template <class C>
using Scalar = typename C::Scalar;

}  // namespace conformance
