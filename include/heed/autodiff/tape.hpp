// SPDX-License-Identifier: Apache-2.0
// Tape: records what blocks do to variables, and runs their gradients backwards.
#pragma once

#include <algorithm>
#include <span>
#include <tuple>
#include <vector>

#include "heed/autodiff/record.hpp"
#include "heed/autodiff/var.hpp"
#include "heed/core/scratch.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// Records what blocks do to variables, and runs their gradients backwards.
///
///   heed::Tape<float> tape;
///   heed::Var x = tape.input(tensor);                // or tape.constant(tensor), which has no gradient
///   heed::Var y = op(x);                             // the operator's lines, recorded as they compute
///   tape.backward(y, cotangent);                     // or backward(device, y1, c1, y2, c2), or backward(loss)
///   heed::View<const float, 2> dw = tape.grad(op.weight);
///   heed::View<const float, 3> dx = tape.grad(x);
///   tape.clear();                                    // the next recording of these shapes allocates nothing
///
/// **Tensors are known by their address.** A tensor given as an input, or to a block beside a Var (a weight), stays
/// where it is: it must keep its place and its values until the tape is cleared. The same memory is the same variable
/// wherever it is given, so the gradients of a parameter that is used twice add up, and grad(op.weight) finds them. A
/// part of a tensor that the tape knows is a part of its variable, and a constant stays constant: tape.constant(op.k)
/// before the forward freezes a parameter. A temporary Eigen tensor given to input() or constant() is copied.
///
/// **Gradients** are computed afresh by each backward, with the values of the forward. What the outputs do not depend
/// on has the gradient 0. They live until the next backward or clear().
///
/// **Memory**: the values and gradients of all outputs, plus the gradients of inputs and parameters (of the whole range
/// of memory that a strided view spans), from one arena that only grows. A tape belongs to one thread at a time;
/// backward runs on the device that it is given, with the same bits for any. Throws heed::Error for a variable of
/// another tape or from before clear(), a cotangent of another shape, a call from within its own backward, a gradient
/// before any backward or of a tensor that it never saw.
template <Real T>
class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { forget(); }

  /// Forgets everything that was recorded; the memory stays. Variables from before it must not be used again.
  void clear() {
    require_idle("clear");
    forget();
    arena_.settle();
    ++recording_;
  }

  /// A variable of the values of a tensor, which stay where they are. A temporary is copied.
  template <TensorLike X>
  auto input(X&& x) {
    if constexpr (!std::is_lvalue_reference_v<X> && detail::kOwnsMemory<std::remove_cvref_t<X>>) {
      return copied(elements(x), true);
    } else {
      return variable(elements(x), true);
    }
  }
  /// The same, under the name of what an operator holds.
  template <TensorLike X>
  auto parameter(const X& x) {
    return variable(elements(x), true);
  }
  /// A variable without a gradient. A constant of a variable's own values is cut off from it, by a copy.
  template <TensorLike X>
  auto constant(X&& x) {
    const auto values = elements(x);
    constexpr bool temporary = !std::is_lvalue_reference_v<X> && detail::kOwnsMemory<std::remove_cvref_t<X>>;
    if (temporary || (values.count() > 0 && has_gradient(lookup(values)))) return copied(values, false);
    return variable(values, false);
  }

  /// Makes the memory of a tensor known, so that find() has a place for its gradient: as a parameter, unless it is
  /// known already. For views that broadcast (stride 0), which cannot be variables.
  template <TensorLike X>
  void remember(const X& x) {
    remember_values(elements(x), true);
  }

  /// What a block is given, as a variable of this tape: a Var is checked, a tensor becomes a parameter.
  template <int Rank>
  Var<T, Rank> operand(const Var<T, Rank>& x) {
    check(x, "Tape::operand");
    return x;
  }
  template <TensorLike X>
  auto operand(const X& x) {
    return variable(elements(x), true);
  }

  /// Whether the tape knows the memory of a tensor.
  template <TensorLike X>
  bool knows(const X& x) {
    const auto values = elements(x);
    return values.count() > 0 && lookup(values) >= 0;
  }

  /// A new variable, of contiguous values that are not yet written: the output of a block. Write to written(it).
  template <int Rank>
  Var<T, Rank> make(const std::array<Index, std::size_t(Rank)>& sizes) {
    require_idle("make");
    const View<const T, Rank> shape(nullptr, sizes);
    return fresh(shape, true);
  }
  /// Where a block writes the values of a variable that it has made.
  template <int Rank>
  View<T, Rank> written(const Var<T, Rank>& x) {
    check(x, "Tape::written");
    return {const_cast<T*>(x.value_.data), x.value_.sizes, x.value_.strides};
  }

  /// A copy that lives until clear(): of indices and the like, which a block reads again in its backward.
  template <class U, int Rank>
  View<const U, Rank> keep(const View<const U, Rank>& x) {
    static_assert(std::is_trivially_copyable_v<U>);
    require_idle("keep");
    const View<U, Rank> kept(x.count() == 0 ? nullptr : take<U>(x.count()), x.sizes);
    detail::copy_elements(x, kept);
    return kept;
  }

  /// on_backward(outputs..., f): backward calls f() if an output's gradient is not 0, after all that used the outputs.
  /// f reads gradient(output) and adds to accumulate(input), on device(). It is kept until clear().
  template <class... Args>
  void on_backward(Args&&... outputs_then_f) {
    require_idle("on_backward");
    constexpr std::size_t count = sizeof...(Args) - 1;
    static_assert(count > 0, "heed::Tape::on_backward: the outputs, then the function");
    auto all = std::forward_as_tuple(std::forward<Args>(outputs_then_f)...);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (check(std::get<I>(all), "Tape::on_backward"), ...);
      add_step(std::forward<std::tuple_element_t<count, decltype(all)>>(std::get<count>(all)),
               std::array<Index, count>{std::get<I>(all).node_...});
    }
    (std::make_index_sequence<count>());
  }

  /// backward(y, cotangent), with more pairs behind it, behind the device that may come first: the gradients of the sum
  /// of all y * cotangent. backward(loss), of one element, has the cotangent 1.
  template <class First, class... Rest>
  void backward(const First& first, const Rest&... rest) {
    if constexpr (Device<First>) {
      run_backward(first, rest...);
    } else {
      run_backward(DeviceRef(), first, rest...);
    }
  }

  /// The gradient that the last backward gave to a variable or to a tensor that it found by address; 0 where the
  /// outputs do not depend on it. Empty for an empty tensor.
  template <int Rank>
  View<const T, Rank> grad(const Var<T, Rank>& x) {
    check(x, "Tape::grad");
    return grad_of(x);
  }
  template <TensorLike X>
  auto grad(const X& x) {
    const auto values = elements(x);
    const Index node = values.count() > 0 ? lookup(values) : kNone;
    require(node >= 0 || values.count() == 0, "Tape::grad", "the tape never saw this tensor of shape ",
            shape_text(values.sizes), "; was the operator copied, or the tape cleared?");
    return grad_of(view_of_node(node, values));
  }

  // For blocks, within the function that they gave to on_backward.

  /// The device of the backward that runs.
  const DeviceRef& device() const { return device_; }
  /// The gradient of an output, complete.
  template <int Rank>
  View<const T, Rank> gradient(const Var<T, Rank>& output) {
    return accumulate(output);
  }
  /// Where to add the gradient of an input; of null data when it is not wanted.
  template <int Rank>
  View<T, Rank> accumulate(const Var<T, Rank>& x) {
    check(x, "Tape::accumulate");
    require(pass_ > 0, "Tape::accumulate", "there was no backward yet");
    touch(x.node_);
    return {x.gradient_, x.value_.sizes, x.value_.strides};
  }
  /// The same for a plain view, by the address of its values: in the same place of the gradient and with the same
  /// strides, 0 where the values have it. Null data for values that are constant or that the tape does not know.
  template <int Rank>
  View<T, Rank> find(const View<const T, Rank>& values) {
    return accumulate(view_of_node(values.count() > 0 ? lookup(values) : kNone, values));
  }

  /// Throws heed::Error, naming `where`, unless x is a variable of this tape and of this recording.
  template <int Rank>
  void check(const Var<T, Rank>& x, std::string_view where) const {
    if (x.count() == 0 && !x.tape_) return;
    require(x.tape_ == this, where, "the variable of shape ", shape_text(x.value_.sizes), " is of another tape");
    require(x.recording_ == recording_, where, "the variable of shape ", shape_text(x.value_.sizes),
            " is from before clear()");
  }

 private:
  static constexpr Index kNone = -1;

  struct Node {
    detail::MemoryRange<T> values;
    T* gradient = nullptr;   // null: constant
    std::uint64_t pass = 0;  // the backward that last touched the gradient
    Index count() const { return values.end - values.begin; }
  };
  struct Known {
    detail::MemoryRange<T> values;
    Index node;
  };

  void require_idle(std::string_view name) const {
    require(!running_, "Tape", name, " was called from within the tape's own backward");
  }

  void forget() {
    while (!steps_.empty()) steps_.pop_back();
    nodes_.clear();
    known_.clear();
    pass_ = 0;
  }

  template <class X>
  static auto elements(const X& x) {
    static_assert(std::same_as<ScalarOf<X>, T>, "heed: all tensors of a recording must hold the type of the tape");
    return const_view(x);
  }

  template <class U>
  U* take(Index count) {
    return reinterpret_cast<U*>(arena_.take(std::size_t(count) * sizeof(U)));
  }

  // The oldest node that holds the values, remembered, so that a younger one never takes its place; or none.
  template <int Rank>
  Index lookup(const View<const T, Rank>& values) {
    const detail::MemoryRange<T> range(values);
    const auto place = std::lower_bound(known_.begin(), known_.end(), range,
                                        [](const Known& known, const auto& r) { return known.values < r; });
    if (place != known_.end() && place->values == range) return place->node;
    for (std::size_t node = 0; node < nodes_.size(); ++node)
      if (nodes_[node].values.contains(range)) {
        known_.insert(place, {range, Index(node)});
        return Index(node);
      }
    return kNone;
  }
  bool has_gradient(Index node) const { return node >= 0 && nodes_[std::size_t(node)].gradient; }

  template <int Rank>
  Var<T, Rank> view_of_node(Index node, const View<const T, Rank>& values) {
    if (node < 0) return {this, recording_, kNone, values, nullptr};
    const Node& n = nodes_[std::size_t(node)];
    return {this, recording_, node, values, n.gradient ? n.gradient + (values.data - n.values.begin) : nullptr};
  }

  template <int Rank>
  Var<T, Rank> variable(const View<const T, Rank>& values, bool gradient) {
    if (values.count() == 0) return view_of_node(kNone, values);
    for (int axis = 0; axis < Rank; ++axis)
      require(values.size(axis) == 1 || values.stride(axis) != 0, "Tape", "axis ", axis, " of a tensor of shape ",
              shape_text(values.sizes), " has stride 0; blocks broadcast by themselves, give them the axis of size 1");
    return view_of_node(remember_values(values, gradient), values);
  }

  template <int Rank>
  Index remember_values(const View<const T, Rank>& values, bool gradient) {
    if (values.count() == 0) return kNone;
    const Index node = lookup(values);
    if (node >= 0) return node;
    require_idle("input, parameter or constant of a new tensor");
    return add_node(detail::MemoryRange<T>(values), gradient);
  }

  template <int Rank>
  Var<T, Rank> copied(const View<const T, Rank>& values, bool gradient) {
    require_idle("input or constant of a temporary");
    const Var<T, Rank> result = fresh(values, gradient);
    kernel::copy<kernel::Write::kAssign>(Eigen::DefaultDevice(), values, written(result));
    return result;
  }

  template <int Rank>
  Var<T, Rank> fresh(const View<const T, Rank>& shape, bool gradient) {
    View<const T, Rank> values(nullptr, shape.sizes);
    if (values.count() == 0) return view_of_node(kNone, values);
    values.data = take<T>(values.count());
    return view_of_node(add_node(detail::MemoryRange<T>(values), gradient), values);
  }

  Index add_node(const detail::MemoryRange<T>& values, bool gradient) {
    nodes_.push_back({values, gradient ? take<T>(values.end - values.begin) : nullptr, 0});
    return Index(nodes_.size()) - 1;
  }

  template <class F, std::size_t N>
  void add_step(F&& f, const std::array<Index, N>& nodes) {
    using Kept = detail::StepOf<std::decay_t<F>, N>;
    static_assert(alignof(Kept) <= detail::kScratchAlignment);
    steps_.push_back(detail::StepPointer(new (take<std::byte>(Index(sizeof(Kept)))) Kept(std::forward<F>(f), nodes)));
  }

  // Zero at the first touch in a backward.
  void touch(Index node) {
    if (!has_gradient(node)) return;
    Node& n = nodes_[std::size_t(node)];
    if (n.pass == pass_) return;
    std::fill_n(n.gradient, n.count(), T(0));
    n.pass = pass_;
  }

  template <int Rank>
  View<const T, Rank> grad_of(const Var<T, Rank>& x) {
    require(pass_ > 0, "Tape::grad", "there was no backward yet");
    require(x.node_ < 0 || has_gradient(x.node_), "Tape::grad", "the variable of shape ", shape_text(x.value_.sizes),
            " is a constant");
    return accumulate(x);
  }

  template <int Rank>
  void check_pairs(const Var<T, Rank>& loss) const {
    check(loss, "Tape::backward");
    require(loss.count() == 1, "Tape::backward", "without a cotangent the output must have one element, got shape ",
            shape_text(loss.sizes()));
  }
  void check_pairs() const {}
  template <int Rank, TensorLike C, class... More>
  void check_pairs(const Var<T, Rank>& y, const C& cotangent, const More&... more) const {
    static_assert(kRankOf<C> == Rank && std::same_as<ScalarOf<C>, T>,
                  "heed::Tape::backward: a cotangent has the rank and the type of its output");
    check(y, "Tape::backward");
    require(const_view(cotangent).sizes == y.sizes(), "Tape::backward", "the cotangent must have the output's shape ",
            shape_text(y.sizes()), ", got ", shape_text(const_view(cotangent).sizes));
    check_pairs(more...);
  }

  template <int Rank>
  void seed(const Var<T, Rank>& loss) {
    if (const View<T, Rank> d = accumulate(loss); d.data) *d.data += T(1);
  }
  void seed() {}
  template <int Rank, class C, class... More>
  void seed(const Var<T, Rank>& y, const C& cotangent, const More&... more) {
    if (const View<T, Rank> d = accumulate(y); d.data)
      kernel::copy<kernel::Write::kAdd>(device_, const_view(cotangent), d);
    seed(more...);
  }

  template <class... Pairs>
  void run_backward(const DeviceRef& device, const Pairs&... pairs) {
    require_idle("backward");
    check_pairs(pairs...);
    struct Running {
      Tape& tape;
      Running(Tape& t, const DeviceRef& device) : tape(t) {
        tape.running_ = true;
        tape.device_ = device;
      }
      ~Running() {
        tape.running_ = false;
        tape.device_ = DeviceRef();
      }
    };
    const Running running(*this, device);
    ++pass_;
    seed(pairs...);
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      const std::span<const Index> outputs = (*step)->outputs();
      const auto reached = [&](Index node) { return has_gradient(node) && nodes_[std::size_t(node)].pass == pass_; };
      if (std::none_of(outputs.begin(), outputs.end(), reached)) continue;
      for (const Index node : outputs) touch(node);
      (*step)->run();
    }
  }

  detail::ScratchArena arena_;  // values, gradients and steps
  std::vector<Node> nodes_;
  std::vector<Known> known_;  // ordered by range
  std::vector<detail::StepPointer> steps_;
  std::uint64_t recording_ = 1;  // the number of clear() and 1
  std::uint64_t pass_ = 0;       // the number of backward() since
  bool running_ = false;
  DeviceRef device_;
};

}  // namespace heed::inline HEED_ISA
