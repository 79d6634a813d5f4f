// SPDX-License-Identifier: Apache-2.0
#include "heed/autodiff/tape.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tape;
using heed::Tensor;
using heed::Var;
using heed::View;
using heed::test::contains;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

// A block of two outputs: (a b, a + b) of tensors or variables of rank 2.
template <class A, class B>
requires heed::AnyRecorded<A, B>
auto product_and_sum(const A& a_like, const B& b_like) {
  auto& tape = heed::tape_of("product_and_sum", a_like, b_like);
  const auto a = tape.operand(a_like), b = tape.operand(b_like);
  const auto product = tape.template make<2>(a.sizes()), sum = tape.template make<2>(a.sizes());
  for (Index i = 0; i < a.size(0); ++i)
    for (Index j = 0; j < a.size(1); ++j) {
      tape.written(product)(i, j) = a.value()(i, j) * b.value()(i, j);
      tape.written(sum)(i, j) = a.value()(i, j) + b.value()(i, j);
    }
  tape.on_backward(product, sum, [&tape, a, b, product, sum] {
    const auto d_product = tape.gradient(product), d_sum = tape.gradient(sum);
    const auto d_a = tape.accumulate(a), d_b = tape.accumulate(b);
    for (Index i = 0; i < a.size(0); ++i)
      for (Index j = 0; j < a.size(1); ++j) {
        if (d_a.data) d_a(i, j) += d_product(i, j) * b.value()(i, j) + d_sum(i, j);
        if (d_b.data) d_b(i, j) += d_product(i, j) * a.value()(i, j) + d_sum(i, j);
      }
  });
  return std::pair(product, sum);
}

Tensor<double, 2> numbers(unsigned seed) { return random_tensor<double, 2>({3, 5}, seed); }

Tensor<double, 2> tensor(const View<const double, 2>& view) {
  Tensor<double, 2> result(view.size(0), view.size(1));
  for (Index i = 0; i < view.size(0); ++i)
    for (Index j = 0; j < view.size(1); ++j) result(i, j) = view(i, j);
  return result;
}

}  // namespace

// What does not know how to record cannot take a variable, so that no gradient is lost silently.
static_assert(!heed::TensorLike<Var<float, 2>>);
static_assert(heed::Recorded<Var<float, 2>> && heed::Operand<Var<float, 2>> && heed::Operand<Tensor<float, 2>>);
static_assert(!heed::Recorded<Tensor<float, 2>> && heed::AnyRecorded<Tensor<float, 2>, Var<float, 2>>);

TEST_CASE("A tape gives the gradients of inputs and of parameters by address") {
  const auto x = numbers(1), w = numbers(2), c = numbers(3);
  Tape<double> tape;
  const Var a = tape.input(x);
  const auto [product, sum] = product_and_sum(a, w);
  CHECK(error_of(product.value(), Tensor<double, 2>(x * w)) == 0);
  tape.backward(product, c);
  CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * w)) == 0);
  CHECK(error_of(tape.grad(x), tape.grad(a)) == 0);
  CHECK(error_of(tape.grad(w), Tensor<double, 2>(c * x)) == 0);
  CHECK(error_of(tape.grad(product), c) == 0);
  CHECK(error_of(tape.grad(sum), Tensor<double, 2>(c * 0.0)) == 0);
  CHECK(tape.knows(w));
  CHECK_FALSE(tape.knows(c));
}

TEST_CASE("Gradients accumulate over uses, and start at 0 in every backward") {
  const auto x = numbers(1), w = numbers(2), c = numbers(3), e = numbers(4);
  Tape<double> tape;
  const Var a = tape.input(x);
  const Var product = product_and_sum(a, w).first;         // x w
  const auto [cube, twice] = product_and_sum(product, w);  // x w^2, x w + w
  for (int pass = 0; pass < 2; ++pass) {
    tape.backward(cube, c, twice, e);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * w * w + e * w)) < 1e-15);
    CHECK(error_of(tape.grad(w), Tensor<double, 2>(c * x * w * 2.0 + e * x + e)) < 1e-15);
  }
  tape.backward(cube, c);
  CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * w * w)) < 1e-15);
  SECTION("the same variable twice") {
    const Var square = product_and_sum(a, a).first;
    tape.backward(square, c);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * x * 2.0)) < 1e-15);
    CHECK(error_of(tape.grad(w), Tensor<double, 2>(c * 0.0)) == 0);
  }
  SECTION("two cotangents of one output") {
    tape.backward(cube, c, cube, e);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>((c + e) * w * w)) < 1e-15);
  }
}

TEST_CASE("What the outputs do not depend on is not run") {
  const auto x = numbers(1), c = numbers(2);
  Tape<double> tape;
  const Var a = tape.input(x);
  int runs = 0;
  const Var used = tape.make<2>(a.sizes()), unused = tape.make<2>(a.sizes());
  tape.on_backward(used, [&] { ++runs; });
  tape.on_backward(unused, [] { FAIL("a dead branch ran"); });
  tape.backward(used, c);
  CHECK(runs == 1);
  CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * 0.0)) == 0);
}

TEST_CASE("A loss of one element needs no cotangent") {
  Tensor<double, 2> x(1, 1), w(1, 1);
  x.setConstant(3);
  w.setConstant(5);
  Tape<double> tape;
  tape.backward(product_and_sum(tape.input(x), w).first);
  CHECK(tape.grad(x)(0, 0) == 5);
  CHECK(tape.grad(w)(0, 0) == 3);
}

TEST_CASE("Parts of a variable mirror its gradient") {
  const auto x = random_tensor<double, 3>({2, 4, 6}, 1);
  const auto c = random_tensor<double, 2>({3, 2}, 2);
  Tape<double> tape;
  const Var a = tape.input(x);
  const Var left = a.select(0, 1).slice(0, 1, 2).permute({1, 0}).slice(0, 0, 3);  // (3, 2)
  const Var right = a.split(2, 3).select(2, 1).select(0, 0).slice(0, 2, 2).permute({1, 0});
  const Var product = product_and_sum(left, right).first;
  tape.backward(product, c);
  Tensor<double, 3> want(2, 4, 6);
  want.setZero();
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 2; ++j) {
      CHECK(left.value()(i, j) == x(1, 1 + j, i));
      CHECK(right.value()(i, j) == x(0, 2 + j, 3 + i));
      want(1, 1 + j, i) += c(i, j) * x(0, 2 + j, 3 + i);
      want(0, 2 + j, 3 + i) += c(i, j) * x(1, 1 + j, i);
    }
  CHECK(error_of(tape.grad(x), want) == 0);
  CHECK(tape.grad(left)(2, 1) == want(1, 2, 2));
  const Var flat = a.merge(1), other = a.reshape<2>({6, 8});
  const Var lifted = a.promote<4>();
  CHECK(flat.sizes() == std::array<Index, 2>{2, 24});
  CHECK(&flat.value()(1, 23) == &x(1, 3, 5));
  CHECK(&lifted.value()(0, 1, 2, 3) == &x(1, 2, 3));
  CHECK(&other.value()(5, 7) == &x(1, 3, 5));
  CHECK(error_of(tape.grad(other), heed::view(want).reshape<2>({6, 8})) == 0);
  CHECK_THROWS_WITH(a.permute({0, 2, 1}).merge(1), contains("copy it first, by contiguous()"));
  CHECK_THROWS_WITH(a.permute({0, 2, 1}).reshape<1>({48}), contains("is not contiguous"));
  CHECK_THROWS_WITH(a.reshape<1>({47}), contains("has not as many elements as (47)"));
}

TEST_CASE("A part of a tensor that the tape knows is a part of its variable") {
  const auto x = numbers(1);
  const auto c = random_tensor<double, 2>({1, 5}, 2);
  Tape<double> tape;
  const Var a = tape.input(x);
  SECTION("taken from the tensor") {
    const auto row = [&](Index i) { return heed::view(x).slice(0, i, 1); };
    tape.backward(product_and_sum(a.slice(0, 0, 1), row(2)).first, c);
    for (Index j = 0; j < 5; ++j) {
      CHECK(tape.grad(a)(2, j) == c(0, j) * x(0, j));
      CHECK(tape.grad(row(2))(0, j) == c(0, j) * x(0, j));
      CHECK(tape.grad(a)(1, j) == 0);
    }
  }
  SECTION("found by a view of a variable's values, broadcast or not") {
    const Var y = product_and_sum(a, a).first;
    const View<const double, 2> row = y.value().slice(0, 1, 1);
    const auto stretched = row.broadcast({4, 5}, "test", "row");
    const Var out = tape.make<2>({4, 5});
    tape.on_backward(out, [&] {
      const auto d_row = tape.find(stretched);
      CHECK(d_row.stride(0) == 0);
      for (Index i = 0; i < 4; ++i)
        for (Index j = 0; j < 5; ++j) d_row(i, j) += tape.gradient(out)(i, j);
      CHECK(tape.find(heed::const_view(c)).data == nullptr);
    });
    Tensor<double, 2> ones(4, 5);
    ones.setConstant(1);
    tape.backward(out, ones);
    for (Index j = 0; j < 5; ++j) {
      CHECK(tape.grad(y)(1, j) == 4);
      CHECK(tape.grad(y)(0, j) == 0);
      CHECK(tape.grad(a)(1, j) == 8 * x(1, j));
    }
  }
  SECTION("what is only remembered has a gradient") {
    const auto table = numbers(7);
    tape.remember(heed::const_view(table).slice(0, 0, 1).broadcast({2, 5}, "test", "row"));
    CHECK(tape.knows(heed::const_view(table).slice(0, 0, 1)));
    CHECK_FALSE(tape.knows(table));
    CHECK_THROWS_WITH(tape.operand(heed::const_view(table).slice(0, 1, 1).broadcast({2, 5}, "test", "row")),
                      contains("axis 0 of a tensor of shape (2, 5) has stride 0"));
  }
}

TEST_CASE("Strided and column-major tensors are variables in place") {
  const auto wide = random_tensor<double, 2>({3, 12}, 1);
  const auto c = numbers(2);
  const auto x = heed::view(wide).slice(1, 4, 5), w = heed::view(wide).slice(1, 5, 5);
  const Eigen::MatrixXd column_major = Eigen::MatrixXd::Random(3, 5);
  Tape<double> tape;
  const Var a = tape.input(x), b = tape.input(w), m = tape.input(column_major);
  tape.backward(product_and_sum(a, b).first, c, product_and_sum(m, a).second, c);
  CHECK(error_of(tape.grad(x), Tensor<double, 2>(c * tensor(w) + c)) == 0);
  CHECK(error_of(tape.grad(b), Tensor<double, 2>(c * tensor(x))) == 0);
  CHECK(error_of(tape.grad(column_major), c) == 0);
}

TEST_CASE("Constants have no gradient") {
  const auto x = numbers(1), w = numbers(2), c = numbers(3);
  Tape<double> tape;
  SECTION("frozen by address") {
    tape.constant(w);
    const Var a = tape.input(x);
    tape.backward(product_and_sum(a, w).first, c);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * w)) == 0);
    CHECK_THROWS_WITH(tape.grad(w), contains("is a constant"));
  }
  SECTION("cut off from a variable") {
    const Var a = tape.input(x);
    const Var y = product_and_sum(a, w).first;
    const Var fixed = tape.constant(y.value());
    tape.backward(product_and_sum(a, fixed).first, c);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * x * w)) < 1e-15);
    CHECK(error_of(tape.grad(w), Tensor<double, 2>(c * 0.0)) == 0);
  }
  SECTION("of temporaries") {
    const Var a = tape.input(numbers(1)), b = tape.constant(numbers(2));
    CHECK(error_of(a.value(), x) == 0);
    tape.backward(product_and_sum(a, b).first, c);
    CHECK(error_of(tape.grad(a), Tensor<double, 2>(c * w)) == 0);
    CHECK_FALSE(tape.knows(x));
  }
}

TEST_CASE("Empty tensors are variables without elements") {
  const Tensor<double, 2> none(0, 5), absent, c(0, 5);
  Tape<double> tape;
  const Var a = tape.input(none);
  CHECK(a.sizes() == std::array<Index, 2>{0, 5});
  const Var y = product_and_sum(a, none).first;
  CHECK(y.count() == 0);
  tape.backward(y, c);
  CHECK(tape.grad(none).sizes == a.sizes());
  CHECK(tape.grad(absent).count() == 0);
  CHECK(tape.grad(Var<double, 2>()).count() == 0);
  CHECK_FALSE(tape.knows(none));
}

TEST_CASE("A second recording of the same shapes allocates nothing") {
  const auto x = numbers(1), w = numbers(2), c = numbers(3);
  Tape<double> tape;
  const auto record = [&] {
    Var y = tape.input(x);
    for (int i = 0; i < 500; ++i) y = product_and_sum(y, w).second;
    tape.backward(y, c);
    CHECK(std::abs(tape.grad(w)(1, 1) - 500 * c(1, 1)) < 1e-12);
  };
  record();
  tape.clear();
  const std::size_t before = heed::test::allocation_count();
  Var y = tape.input(x);
  for (int i = 0; i < 500; ++i) y = product_and_sum(y, w).second;
  tape.backward(y, c);
  const double gradient = tape.grad(w)(1, 1);
  tape.clear();
  CHECK(heed::test::allocation_count() == before);
  CHECK(std::abs(gradient - 500 * c(1, 1)) < 1e-12);
}

TEST_CASE("Steps are destroyed with the recording") {
  const auto shared = std::make_shared<int>(1);
  {
    Tape<double> tape;
    const Var y = tape.make<2>({1, 1});
    tape.on_backward(y, [shared] {});
    CHECK(shared.use_count() == 2);
    tape.clear();
    CHECK(shared.use_count() == 1);
    tape.on_backward(tape.make<2>({1, 1}), [shared] {});
  }
  CHECK(shared.use_count() == 1);
}

TEST_CASE("A tape says what is wrong") {
  const auto x = numbers(1), c = numbers(2);
  Tape<double> tape, other;
  const Var a = tape.input(x), b = other.input(x);
  CHECK_THROWS_WITH(product_and_sum(a, b), "Tape::operand: the variable of shape (3, 5) is of another tape");
  CHECK_THROWS_WITH(tape.grad(a), "Tape::grad: there was no backward yet");
  CHECK_THROWS_WITH(product_and_sum(Var<double, 2>(), x), "product_and_sum: a variable on no tape");
  const Var y = product_and_sum(a, x).first;
  CHECK_THROWS_WITH(tape.backward(y, Tensor<double, 2>(5, 3)),
                    "Tape::backward: the cotangent must have the output's shape (3, 5), got (5, 3)");
  CHECK_THROWS_WITH(tape.backward(y),
                    "Tape::backward: without a cotangent the output must have one element, got shape (3, 5)");
  CHECK_THROWS_WITH(tape.backward(b, c), "Tape::backward: the variable of shape (3, 5) is of another tape");
  tape.backward(y, c);
  const auto copy = x;
  CHECK_THROWS_WITH(tape.grad(copy),
                    "Tape::grad: the tape never saw this tensor of shape (3, 5); was the operator copied, or the tape "
                    "cleared?");
  const Var z = tape.make<2>({3, 5});
  tape.on_backward(z, [&] {
    CHECK_THROWS_WITH(tape.backward(z, c), "Tape: backward was called from within the tape's own backward");
    CHECK_THROWS_WITH(tape.clear(), "Tape: clear was called from within the tape's own backward");
    CHECK_THROWS_WITH(product_and_sum(a, x), contains("was called from within the tape's own backward"));
    CHECK_THROWS_WITH(tape.input(copy), contains("was called from within the tape's own backward"));
  });
  tape.backward(z, c);
  SECTION("an exception of a step leaves the tape usable") {
    tape.on_backward(y, [] { throw std::runtime_error("step"); });
    CHECK_THROWS_WITH(tape.backward(y, c), "step");
    tape.backward(z, c);
  }
  tape.clear();
  CHECK_THROWS_WITH(a.value(), "Var::value: the variable of shape (3, 5) is from before clear()");
  CHECK_THROWS_WITH(tape.backward(y, c), "Tape::backward: the variable of shape (3, 5) is from before clear()");
  CHECK_THROWS_WITH(tape.grad(x), contains("there was no backward yet") || contains("never saw"));
}

TEST_CASE("A step runs on the device of its backward") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  Tape<double> tape;
  const Var y = tape.make<2>({1, 1});
  int threads = 0;
  tape.on_backward(y, [&] { threads = heed::thread_count(tape.device()); });
  tape.backward(device, y);
  CHECK(threads == 2);
  tape.backward(y);
  CHECK(threads == 1);
}
