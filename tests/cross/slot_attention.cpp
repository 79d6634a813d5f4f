// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/slot_attention.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/matmul.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/reduce.hpp"
#include "heed/autodiff/softmax.hpp"
#include "support/cross.hpp"
#include "support/finite_differences.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::SlotAttention<double> attention(Index slots, Index c, Index iters) {
  heed::SlotAttention<double> attend{{.iters = iters}};
  attend.slots = fresh<2>({slots, c});
  attend.norm_input = fresh_norm(c);
  attend.norm_slots = fresh_norm(c);
  attend.norm_ff = fresh_norm(c);
  attend.q = fresh_linear(c, c);
  attend.k = fresh_linear(c, c);
  attend.v = fresh_linear(c, c);
  attend.mlp = fresh_mlp(c, 7, c);
  attend.out = fresh_linear(3, c);
  return attend;
}

Tensor<double, 3> naive(const heed::SlotAttention<double>& attend, const Tensor<double, 3>& x) {
  const Index batch = x.dimension(0), n = x.dimension(1), c = x.dimension(2), slots = attend.slots.dimension(0);
  const auto k = apply(attend.k, attend.norm_input(x)), v = apply(attend.v, attend.norm_input(x));
  Tensor<double, 3> s(batch, slots, c);
  for (Index b = 0; b < batch; ++b) s.chip(b, 0) = attend.slots;
  for (Index round = 0; round < attend.options.iters; ++round) {
    const auto q = apply(attend.q, attend.norm_slots(s));
    for (Index b = 0; b < batch; ++b) {
      Tensor<double, 2> a(slots, n);
      for (Index j = 0; j < n; ++j) {
        double sum = 0;
        for (Index i = 0; i < slots; ++i) {
          double dot = 0;
          for (Index d = 0; d < c; ++d) dot += q(b, i, d) * k(b, j, d) / std::sqrt(double(c));
          sum += a(i, j) = std::exp(dot);
        }
        for (Index i = 0; i < slots; ++i) a(i, j) = a(i, j) / sum + attend.options.eps;
      }
      for (Index i = 0; i < slots; ++i) {
        double sum = 0;
        for (Index j = 0; j < n; ++j) sum += a(i, j);
        for (Index j = 0; j < n; ++j)
          for (Index d = 0; d < c; ++d) s(b, i, d) += a(i, j) / sum * v(b, j, d);
      }
    }
    s += Tensor<double, 3>(attend.mlp(heed::DeviceRef(), heed::Gelu(), attend.norm_ff(s)));
  }
  return apply(attend.out, s);
}

}  // namespace

TEST_CASE("slot_attention is its definition") {
  for (const auto& [slots, n] : {std::pair<Index, Index>{1, 5}, {3, 1}, {3, 17}, {17, 3}})
    for (const Index iters : {1, 2, 4}) {
      CAPTURE(slots, n, iters);
      const auto attend = attention(slots, 4, iters);
      const auto x = fresh<3>({2, n, 4});
      CHECK(error_of(attend(x), naive(attend, x)) < 1e-11);
    }
  auto attend = attention(2, 4, 0);
  CHECK_THROWS_WITH(attend(fresh<3>({1, 2, 4})), "slot_attention: iters must be 1 or more, got 0");
}

TEST_CASE("slot_attention: the gradient of the last iteration") {
  auto attend = attention(2, 4, 1);
  auto x = fresh<3>({2, 3, 4});
  check_gradients([&](auto&, const auto& v) { return attend(v); }, x, attend);

  // Of several, the last: with the values that go into it in place of the slots, one iteration has the same gradients.
  attend.options.iters = 3;
  const auto one = fresh<3>({1, 3, 4});
  heed::Tape<double> tape;
  const auto cotangent = fresh<3>({1, 2, 3});
  tape.backward(attend(tape.input(one)), cotangent);
  const auto want = heed::contiguous(tape.grad(attend.slots));
  auto last = attend;
  last.options.iters = 1;
  // The slots after two iterations: those that an identity for `out` shows.
  auto show = attend;
  show.options.iters = 2;
  show.out.weight.resize(4, 4);
  show.out.weight.setZero();
  for (Index d = 0; d < 4; ++d) show.out.weight(d, d) = 1;
  show.out.bias.resize(0);
  last.slots = Tensor<double, 3>(show(one)).chip(0, 0);
  heed::Tape<double> other;
  other.backward(last(other.input(one)), cotangent);
  CHECK(error_of(want, other.grad(last.slots)) < 1e-12);
}
