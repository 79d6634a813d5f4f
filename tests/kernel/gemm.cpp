// SPDX-License-Identifier: Apache-2.0
#include "heed/kernel/gemm.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "catch.hpp"
#include "support/allocations.hpp"

using heed::Index;
using heed::Matrix;
using heed::View;

namespace {

template <class T>
Matrix<T> random_matrix(Index rows, Index columns, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Matrix<T> m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = T(normal(engine));
  return m;
}

template <class T>
Matrix<T> poison(Index rows, Index columns) {
  return Matrix<T>::Constant(rows, columns, std::numeric_limits<T>::quiet_NaN());
}

template <class T>
View<const T, 1> row_of(const Matrix<T>& bias) {
  return View<const T, 1>(bias.data(), {bias.size()});
}

template <class T>
bool same_bits(const Matrix<T>& a, const Matrix<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(T) * std::size_t(a.size())) == 0;
}

// The largest error in units of eps times the sum of the magnitudes that were added up.
template <class UA, class UB, class T>
double worst_error(const Matrix<UA>& a, const Matrix<UB>& b, const Matrix<UB>& bias, const Matrix<T>& c) {
  using Exact = long double;
  double worst = 0;
  for (Index i = 0; i < c.rows(); ++i)
    for (Index o = 0; o < c.cols(); ++o) {
      Exact sum = bias.size() ? Exact(double(bias(0, o))) : Exact(0), size = std::abs(sum);
      for (Index d = 0; d < a.cols(); ++d) {
        const Exact product = Exact(double(a(i, d))) * Exact(double(b(o, d)));
        sum += product;
        size += std::abs(product);
      }
      const double error = double(std::abs(Exact(c(i, o)) - sum));
      const double unit = double(std::numeric_limits<T>::epsilon()) * double(size);
      if (!(error <= unit * 1e9)) return 1e9;
      if (size > 0) worst = std::max(worst, error / unit);
    }
  return worst;
}

// Both kernels: they differ in the order of their sums alone.
enum class Kernel { kPanels, kFew };

template <class D, class A, class B, class U, class C>
void product_on(const D& device, Kernel kernel, const A& a, const B& b, const View<const U, 1>& bias, C&& c) {
  if (kernel == Kernel::kPanels) {
    heed::kernel::gemm(device, heed::const_view(a), heed::const_view(b), bias, heed::view(c));
  } else {
    heed::kernel::gemm_few(device, heed::const_view(a), heed::const_view(b), bias, heed::view(c));
  }
}
template <class A, class B, class U, class C>
void product(Kernel kernel, const A& a, const B& b, const View<const U, 1>& bias, C&& c) {
  product_on(Eigen::DefaultDevice(), kernel, a, b, bias, c);
}

double bound(Index depth) { return double(std::min<Index>(depth, 256) + depth / 256 + 2); }

}  // namespace

TEMPLATE_TEST_CASE("gemm agrees with the exact product within its bound", "", float, double) {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  for (const auto& [rows, outputs, depth] : std::vector<std::array<Index, 3>>{{1, 1, 1},
                                                                              {1, 500, 63},
                                                                              {3, 17, 500},
                                                                              {17, 63, 3},
                                                                              {63, 65, 256},
                                                                              {64, 97, 257},
                                                                              {65, 1, 17},
                                                                              {129, 130, 64},
                                                                              {500, 63, 513},
                                                                              {400, 193, 1}}) {
    CAPTURE(rows, outputs, depth);
    const auto a = random_matrix<TestType>(rows, depth, 1), b = random_matrix<TestType>(outputs, depth, 2);
    const auto bias = random_matrix<TestType>(1, outputs, 3);
    auto c = poison<TestType>(rows, outputs);
    product(kernel, a, b, row_of(bias), c);
    CHECK(worst_error(a, b, bias, c) <= bound(depth));
    // In practice the errors of a sum go with the root of its length.
    CHECK(worst_error(a, b, bias, c) <= 4 + 0.05 * bound(depth));
    c = poison<TestType>(rows, outputs);
    product(kernel, a, b, View<const TestType, 1>(), c);
    CHECK(worst_error(a, b, Matrix<TestType>(), c) <= bound(depth));
  }
}

TEMPLATE_TEST_CASE("gemm adds, also by rows that are columns of memory", "", float, double) {
  using T = TestType;
  for (const auto& [rows, outputs, depth] :
       std::vector<std::array<Index, 3>>{{1, 1, 1}, {3, 17, 63}, {65, 63, 17}, {130, 97, 300}, {5, 4, 0}}) {
    CAPTURE(rows, outputs, depth);
    const auto a = random_matrix<T>(rows, depth, 1), b = random_matrix<T>(outputs, depth, 2);
    const auto start = random_matrix<T>(rows, outputs, 3);
    const Matrix<T> a_columns = a.transpose(), b_columns = b.transpose();
    const View<const T, 2> at = heed::const_view(a_columns).permute({1, 0});
    const View<const T, 2> bt = heed::const_view(b_columns).permute({1, 0});
    const View<const T, 1> none;
    const Eigen::Matrix<double, -1, -1> want =
        start.template cast<double>() + a.template cast<double>() * b.template cast<double>().transpose();
    const double most = bound(depth) * double(std::numeric_limits<T>::epsilon()) * double(depth + 10);
    Matrix<T> c = start, wide = poison<T>(rows, 2 * outputs);
    heed::kernel::gemm<heed::kernel::Write::kAdd>(Eigen::DefaultDevice(), heed::const_view(a), heed::const_view(b),
                                                  none, heed::view(c));
    CHECK((c.template cast<double>() - want).cwiseAbs().maxCoeff() <= most);
    Matrix<T> same = start;
    heed::kernel::gemm<heed::kernel::Write::kAdd>(Eigen::DefaultDevice(), at, bt, none, heed::view(same));
    CHECK(same_bits(c, same));
    for (Index i = 0; i < rows; ++i)
      for (Index o = 0; o < outputs; ++o) wide(i, 2 * o) = start(i, o);
    View<T, 2> every_other(wide.data(), {rows, outputs}, {2 * outputs, 2});
    heed::kernel::gemm<heed::kernel::Write::kAdd>(Eigen::DefaultDevice(), at, heed::const_view(b), none, every_other);
    for (Index i = 0; i < rows; ++i)
      for (Index o = 0; o < outputs; ++o) {
        CHECK(std::abs(double(wide(i, 2 * o)) - want(i, o)) <= most);
        CHECK(std::isnan(wide(i, 2 * o + 1)));
      }
  }
}

TEMPLATE_TEST_CASE("gemm gives an element the same bits for any number of rows, outputs and threads", "[threads]",
                   float, double) {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  const Index rows = 200, outputs = 150, depth = 300;
  const auto a = random_matrix<TestType>(rows, depth, 4), b = random_matrix<TestType>(outputs, depth, 5);
  const auto bias = random_matrix<TestType>(1, outputs, 6);
  auto c = poison<TestType>(rows, outputs);
  product(kernel, a, b, row_of(bias), c);
  for (const int threads : {1, 2, 3}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    auto again = poison<TestType>(rows, outputs);
    product_on(device, kernel, a, b, row_of(bias), again);
    CHECK(same_bits(c, again));
  }
  for (const Index part : {1, 3, 16, 17, 64, 65, 130}) {
    CAPTURE(part);
    const Matrix<TestType> first = a.topRows(part), some = b.topRows(part);
    auto fewer_rows = poison<TestType>(part, outputs), fewer_outputs = poison<TestType>(rows, part);
    product(kernel, first, b, row_of(bias), fewer_rows);
    product(kernel, a, some, row_of(bias), fewer_outputs);
    CHECK(same_bits(Matrix<TestType>(c.topRows(part)), fewer_rows));
    CHECK(same_bits(Matrix<TestType>(c.leftCols(part)), fewer_outputs));
  }
}

TEST_CASE("gemm takes any strides and writes nothing else") {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  for (const Index rows : {5, 100}) {
    const Index outputs = 70, depth = 33;
    const auto a = random_matrix<float>(rows, depth, 7), b = random_matrix<float>(outputs, depth, 8);
    auto c = poison<float>(rows, outputs);
    const View<const float, 1> none;
    product(kernel, a, b, none, c);

    const Eigen::MatrixXf a_columns = a, b_columns = b;
    Eigen::MatrixXf c_columns = Eigen::MatrixXf::Constant(rows, outputs, 7);
    product(kernel, a_columns, b_columns, none, c_columns);
    CHECK(same_bits(c, Matrix<float>(c_columns)));

    auto wide = poison<float>(rows, outputs + 9);
    Matrix<float> wide_a = poison<float>(rows, depth + 5);
    wide_a.middleCols(2, depth) = a;
    const auto inside = heed::view(wide).slice(1, 4, outputs);
    product(kernel, heed::const_view(wide_a).slice(1, 2, depth), b, none, inside);
    CHECK(same_bits(c, Matrix<float>(wide.middleCols(4, outputs))));
    CHECK(wide.leftCols(4).array().isNaN().all());
    CHECK(wide.rightCols(5).array().isNaN().all());
  }
}

TEMPLATE_TEST_CASE("gemm widens 16-bit storage", "", heed::half, heed::bfloat16) {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  for (const Index rows : {3, 90}) {
    const Index outputs = 77, depth = 300;
    const auto a = random_matrix<TestType>(rows, depth, 9), b = random_matrix<TestType>(outputs, depth, 10);
    const auto bias = random_matrix<TestType>(1, outputs, 11);
    auto c = poison<float>(rows, outputs);
    product(kernel, a, b, row_of(bias), c);
    CHECK(worst_error(a, b, bias, c) <= bound(depth));
    Matrix<TestType> narrow(rows, outputs);
    product(kernel, a, b, row_of(bias), narrow);
    CHECK((narrow.array() == c.template cast<TestType>().array()).all());
  }
}

TEST_CASE("gemm without depth is the bias, and without rows nothing") {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  for (const Index rows : {2, 80}) {
    const Matrix<float> a(rows, 0), b(5, 0);
    const auto bias = random_matrix<float>(1, 5, 12);
    auto c = poison<float>(rows, 5);
    product(kernel, a, b, row_of(bias), c);
    CHECK(c == bias.replicate(rows, 1));
    product(kernel, a, b, View<const float, 1>(), c);
    CHECK(c.isZero(0));
  }
  const Matrix<float> none(0, 4), b(5, 4);
  Matrix<float> c(0, 5);
  product(kernel, none, b, View<const float, 1>(), c);
}

TEST_CASE("gemm allocates nothing after the first call of a shape") {
  const Kernel kernel = GENERATE(Kernel::kPanels, Kernel::kFew);
  for (const Index rows : {7, 100}) {
    const auto a = random_matrix<float>(rows, 300, 13), b = random_matrix<float>(200, 300, 14);
    const Matrix<heed::half> a_half = a.cast<heed::half>();
    auto c = poison<float>(rows, 200);
    const auto run = [&] {
      product(kernel, a, b, View<const float, 1>(), c);
      product(kernel, a_half, b, View<const float, 1>(), c);
    };
    run();
    run();
    const auto before = heed::test::allocation_count();
    run();
    CHECK(heed::test::allocation_count() == before);
  }
}
