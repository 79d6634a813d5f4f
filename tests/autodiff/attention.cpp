// SPDX-License-Identifier: Apache-2.0
// The fused attention on a tape: the same values as on tensors, and the gradients of softmax_attention_backward in
// the right places.
#include "heed/autodiff/attention.hpp"

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using namespace heed::test;

namespace {

template <class T>
using Attend = decltype(heed::softmax_attention(heed::alibi(std::declval<const View<const T, 1>&>()) |
                                                    heed::bias(std::declval<const View<const T, 4>&>()) |
                                                    heed::sink_logit(std::declval<const View<const T, 1>&>()),
                                                heed::causal()));

// q, k, v packed in one (B, N, 3, H, D) tensor, and all that a score reads.
template <class T>
struct Inputs {
  Tensor<T, 5> packed = random_tensor<T, 5>({2, 19, 3, 2, 5}, 1);
  Tensor<T, 4> table = random_tensor<T, 4>({1, 2, 19, 19}, 2), d_out = random_tensor<T, 4>({2, 2, 19, 5}, 3);
  Tensor<T, 3> d_lse = random_tensor<T, 3>({2, 2, 19}, 4);
  Tensor<T, 1> slopes = random_tensor<T, 1>({2}, 5), sink = random_tensor<T, 1>({2}, 6);

  Attend<T> attend(const View<const T, 4>& bias) const {
    return heed::softmax_attention(
        heed::alibi(View<const T, 1>(slopes)) | heed::bias(bias) | heed::sink_logit(View<const T, 1>(sink)),
        heed::causal());
  }
};

template <class X>
auto part(const X& packed, Index which) {
  return packed.select(2, which).permute({0, 2, 1, 3});
}

}  // namespace

TEMPLATE_TEST_CASE("A packed variable's gradient is that of its parts, and modifiers' tensors have theirs", "", float,
                   double) {
  using T = TestType;
  const Inputs<T> x;
  const View<const T, 5> packed(x.packed);
  const auto attend = x.attend(View<const T, 4>(x.table));
  const auto [want_out, want_lse] = attend.with_lse(part(packed, 0), part(packed, 1), part(packed, 2));
  Tensor<T, 5> d_packed(packed.size(0), packed.size(1), 3, 2, 5);
  Tensor<T, 4> d_table(x.table.dimensions());
  Tensor<T, 1> d_slopes(2), d_sink(2);
  d_packed.setZero(), d_table.setZero(), d_slopes.setZero(), d_sink.setZero();
  const View<T, 5> d(d_packed);
  const heed::ParameterGradient<T> parameters[] = {
      heed::gradient_of(x.table, d_table), heed::gradient_of(x.slopes, d_slopes), heed::gradient_of(x.sink, d_sink)};
  heed::softmax_attention_backward(Eigen::DefaultDevice(), attend, part(packed, 0), part(packed, 1), part(packed, 2),
                                   want_out, want_lse, x.d_out, View<const T, 3>(x.d_lse),
                                   heed::AttentionGradients<T>{part(d, 0), part(d, 1), part(d, 2), parameters});

  heed::Tape<T> tape;
  std::size_t allocated = 0;
  for (int round = 0; round < 3; ++round) {
    const std::size_t before = allocation_count();
    tape.clear();
    const heed::Var v = tape.input(x.packed);
    const heed::Var bias = tape.input(x.table);
    const auto recorded = x.attend(bias.value());
    const auto [out, lse] = recorded.with_lse(part(v, 0), part(v, 1), part(v, 2));
    tape.backward(out, x.d_out, lse, x.d_lse);
    allocated = allocation_count() - before;
    CHECK(error_of(out.value(), want_out) == 0);
    CHECK(error_of(lse.value(), want_lse) == 0);
    CHECK(error_of(tape.grad(v), d_packed) == 0);
    CHECK(error_of(tape.grad(bias), d_table) == 0);
    CHECK(error_of(tape.grad(x.slopes), d_slopes) == 0);
    CHECK(error_of(tape.grad(x.sink), d_sink) == 0);
  }
  CHECK(allocated == 0);
}

TEST_CASE("Tensors beside a variable are parameters, constants have no gradient") {
  const Inputs<double> x;
  const Tensor<double, 3> q = random_tensor<double, 3>({2, 7, 5}, 1), k = random_tensor<double, 3>({2, 9, 5}, 2),
                          v = random_tensor<double, 3>({2, 9, 4}, 3);
  heed::Tape<double> tape;
  const auto out = heed::softmax_attention()(tape.input(q), k, tape.constant(v));
  Tensor<double, 3> d_out(2, 7, 4);
  d_out.setConstant(1);
  tape.backward(out, d_out);
  CHECK(tape.grad(k).sizes == heed::const_view(k).sizes);
  CHECK_THROWS_AS(tape.grad(v), heed::Error);
  heed::Tape<double> other;
  CHECK_THROWS_AS(heed::softmax_attention()(tape.input(q), other.input(k), v), heed::Error);
}
