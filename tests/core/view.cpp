// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "heed/core/tensor.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;

namespace {

// Elements 0, 1, 2, ... in memory order.
template <class T>
T counted(T tensor) {
  std::iota(tensor.data(), tensor.data() + tensor.size(), typename T::Scalar(0));
  return tensor;
}

template <class T, int Rank>
std::vector<std::remove_const_t<T>> elements(const View<T, Rank>& view) {
  std::vector<std::remove_const_t<T>> values;
  if constexpr (Rank == 1) {
    for (Index i = 0; i < view.size(0); ++i) values.push_back(view(i));
  } else {
    for (Index i = 0; i < view.size(0); ++i)
      for (const auto value : elements(view.select(0, i))) values.push_back(value);
  }
  return values;
}

}  // namespace

TEST_CASE("A view of a tensor has its memory, sizes and strides") {
  auto x = counted(Tensor<float, 3>(2, 3, 5));
  const auto view = heed::view(x);
  CHECK(view.data == x.data());
  CHECK(view.sizes == std::array<Index, 3>{2, 3, 5});
  CHECK(view.strides == std::array<Index, 3>{15, 5, 1});
  CHECK(view.count() == 30);
  for (Index a = 0; a < 2; ++a)
    for (Index b = 0; b < 3; ++b)
      for (Index c = 0; c < 5; ++c) CHECK(view(a, b, c) == x(a, b, c));
  CHECK(view.at(1) == &x(1, 0, 0));
  CHECK(view.at(1, 2) == &x(1, 2, 0));
}

TEST_CASE("A column-major tensor is viewed by its strides") {
  auto x = counted(Eigen::Tensor<float, 3>(2, 3, 5));
  const View<const float, 3> view = heed::const_view(x);
  CHECK(view.strides == std::array<Index, 3>{1, 2, 6});
  for (Index a = 0; a < 2; ++a)
    for (Index b = 0; b < 3; ++b)
      for (Index c = 0; c < 5; ++c) CHECK(view(a, b, c) == x(a, b, c));
}

TEST_CASE("Maps, matrices, blocks and vectors are viewed in place") {
  std::vector<double> memory(12);
  std::iota(memory.begin(), memory.end(), 0.);
  const Eigen::TensorMap<Tensor<double, 2>> map(memory.data(), 3, 4);
  CHECK(View<double, 2>(map)(2, 1) == 9);

  heed::Matrix<double> rows = Eigen::Map<heed::Matrix<double>>(memory.data(), 3, 4);
  CHECK(heed::view(rows).strides == std::array<Index, 2>{4, 1});
  Eigen::MatrixXd columns = rows;
  CHECK(heed::view(columns).strides == std::array<Index, 2>{1, 3});
  CHECK(elements(heed::const_view(columns)) == elements(heed::const_view(rows)));

  const View<const double, 2> block = rows.block(1, 1, 2, 3);
  CHECK(elements(block) == std::vector<double>{5, 6, 7, 9, 10, 11});

  const View<const double, 1> column = rows.col(2);
  CHECK(elements(column) == std::vector<double>{2, 6, 10});
  CHECK(elements(heed::view(rows.row(1))) == std::vector<double>{4, 5, 6, 7});
  CHECK(heed::view(rows.col(2)).strides == std::array<Index, 1>{4});
  CHECK(View<const double, 2>(rows.row(1)).sizes == std::array<Index, 2>{1, 4});

  heed::view(rows)(0, 0) = -1;
  CHECK(rows(0, 0) == -1);
}

TEST_CASE("A view that may write is also a view that reads, not the other way round") {
  STATIC_REQUIRE(std::is_convertible_v<View<float, 2>, View<const float, 2>>);
  STATIC_REQUIRE(!std::is_convertible_v<View<const float, 2>, View<float, 2>>);
  STATIC_REQUIRE(!std::is_constructible_v<View<float, 2>, const Tensor<float, 2>&>);
  STATIC_REQUIRE(!std::is_constructible_v<View<float, 2>, Tensor<double, 2>&>);
  STATIC_REQUIRE(!std::is_constructible_v<View<float, 2>, Tensor<float, 3>&>);
}

TEST_CASE("permute, split and select cut a packed projection without a copy") {
  const Index B = 2, N = 3, H = 2, D = 5;
  auto packed = counted(Tensor<float, 3>(B, N, 3 * H * D));
  const auto qkv = heed::view(packed).split(2, H * D).split(3, D);
  REQUIRE(qkv.sizes == std::array<Index, 5>{B, N, 3, H, D});
  const View<float, 4> k = qkv.select(2, 1).permute({0, 2, 1, 3});
  REQUIRE(k.sizes == std::array<Index, 4>{B, H, N, D});
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index n = 0; n < N; ++n)
        for (Index d = 0; d < D; ++d) CHECK(k.at(b, h, n, d) == &packed(b, n, (H + h) * D + d));
}

TEST_CASE("permute by an order and by its inverse is no change") {
  auto x = counted(Tensor<float, 3>(2, 3, 5));
  const auto view = heed::view(x);
  const auto back = view.permute({1, 2, 0}).permute({2, 0, 1});
  CHECK(back.sizes == view.sizes);
  CHECK(back.strides == view.strides);
}

TEST_CASE("slice") {
  auto x = counted(Tensor<float, 2>(3, 4));
  const auto view = heed::view(x);
  CHECK(elements(view.slice(1, 1, 2)) == std::vector<float>{1, 2, 5, 6, 9, 10});
  CHECK(view.slice(0, 3, 0).count() == 0);
  CHECK_THROWS_WITH(view.slice(1, 3, 2),
                    "View::slice: elements [3, 5) are outside of axis 1 of a view of shape (3, 4)");
  CHECK_THROWS_AS(view.slice(0, -1, 1), heed::Error);
  CHECK_THROWS_AS(view.slice(0, 1, -1), heed::Error);
}

TEST_CASE("parts of an empty tensor point nowhere") {
  const Tensor<float, 3> x(0, 4, 5);
  const auto part = heed::const_view(x).slice(1, 2, 2);
  CHECK((part.data == nullptr && part.size(1) == 2 && part.stride(1) == 5));
  const auto row = heed::const_view(x).select(2, 3);
  CHECK((row.data == nullptr && row.size(0) == 0 && row.size(1) == 4));
  CHECK(heed::const_view(x).stepped(1, 1, 2).data == nullptr);
}

TEST_CASE("stepped") {
  Tensor<float, 1> values(7);
  for (Index i = 0; i < 7; ++i) values(i) = float(i);
  const auto view = heed::view(values);
  CHECK(elements(view.stepped(0, 1, 3)) == std::vector<float>{1, 4});
  CHECK(elements(view.stepped(0, 0, 3)) == std::vector<float>{0, 3, 6});
  CHECK(elements(view.stepped(0, 6, 1)) == std::vector<float>{6});
  CHECK(view.stepped(0, 7, 2).count() == 0);
  CHECK(view.stepped(0, 9, 2).count() == 0);
  CHECK_THROWS_WITH(view.stepped(0, 1, 0),
                    "View::stepped: the first element must be 0 or more and the step 1 or more, got 1 and 0");
}

TEST_CASE("select and split refuse what is outside of the view") {
  auto x = counted(Tensor<float, 2>(3, 4));
  const auto view = heed::view(x);
  CHECK_THROWS_WITH(view.select(0, 3), "View::select: index 3 is outside of axis 0 of a view of shape (3, 4)");
  CHECK_THROWS_AS(view.select(0, -1), heed::Error);
  CHECK_THROWS_WITH(view.split(1, 3), "View::split: axis 1 of a view of shape (3, 4) is no multiple of 3");
  CHECK_THROWS_AS(view.split(1, 0), heed::Error);
}

TEST_CASE("promote adds leading axes of size 1") {
  auto x = counted(Tensor<float, 2>(3, 4));
  const auto view = heed::view(x).promote<4>();
  CHECK(view.sizes == std::array<Index, 4>{1, 1, 3, 4});
  CHECK(&view(0, 0, 2, 1) == &x(2, 1));
}

TEST_CASE("broadcast repeats axes of size 1") {
  auto x = counted(Tensor<float, 2>(1, 3));
  const auto view = heed::view(x).broadcast({2, 3}, "masked_attention", "mask");
  CHECK(elements(view) == std::vector<float>{0, 1, 2, 0, 1, 2});
  CHECK_THROWS_WITH(heed::view(x).broadcast({2, 4}, "masked_attention", "mask"),
                    "masked_attention: mask must be broadcastable to (2, 4), got (1, 3)");
}

TEST_CASE("Strides may be negative, and no axis needs an element") {
  auto x = counted(Tensor<float, 1>(5));
  const View<float, 1> reversed(x.data() + 4, {5}, {-1});
  CHECK(elements(reversed) == std::vector<float>{4, 3, 2, 1, 0});
  Tensor<float, 3> none(2, 0, 5);
  CHECK(heed::view(none).count() == 0);
}

TEST_CASE("Offsets beyond 2^31 elements are not cut off") {
  char unit = 0;
  const Index stride = Index(1) << 33;
  const View<char, 2> view(&unit, {3, 3}, {stride, 1});
  const auto address = [](const char* p) { return reinterpret_cast<std::uintptr_t>(p); };
  CHECK(address(view.permute({1, 0}).at(0, 2)) - address(&unit) == std::uintptr_t(2 * stride));
}

TEST_CASE("TensorLike accepts what has memory") {
  STATIC_REQUIRE(heed::TensorLike<Tensor<float, 4>&>);
  STATIC_REQUIRE(heed::TensorLike<const Tensor<float, 4>&>);
  STATIC_REQUIRE(heed::TensorLike<Eigen::TensorMap<Tensor<float, 4>>&>);
  STATIC_REQUIRE(heed::TensorLike<Eigen::MatrixXf&>);
  STATIC_REQUIRE(heed::TensorLike<View<float, 4>&>);
  STATIC_REQUIRE(!heed::TensorLike<float>);
  STATIC_REQUIRE(!heed::TensorLike<decltype(std::declval<Tensor<float, 2>&>() + std::declval<Tensor<float, 2>&>())>);
  STATIC_REQUIRE(heed::kRankOf<Tensor<heed::half, 3>&> == 3);
  STATIC_REQUIRE(heed::kRankOf<Eigen::MatrixXf&> == 2);
  STATIC_REQUIRE(heed::kRankOf<Eigen::VectorXf&> == 1);
  STATIC_REQUIRE(heed::kRankOf<const Eigen::RowVectorXf&> == 1);
  STATIC_REQUIRE(heed::kRankOf<Eigen::Map<const Eigen::ArrayXd>&> == 1);
  STATIC_REQUIRE(std::is_same_v<heed::ScalarOf<const Tensor<heed::half, 3>&>, heed::half>);
}

TEST_CASE("Neighbouring axes that lie as one in memory merge, contiguous views take another shape") {
  Tensor<float, 3> x(2, 3, 4);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = float(i);
  const View<float, 3> v(x);
  CHECK(v.is_contiguous());
  CHECK(v.merge(0).sizes == std::array<Index, 2>{6, 4});
  CHECK(v.merge(0)(5, 3) == 23);
  CHECK(v.merge(1)(1, 11) == 23);
  CHECK(v.slice(2, 1, 2).merge(0)(5, 1) == 22);
  CHECK(v.slice(0, 1, 1).slice(1, 1, 2).merge(0)(1, 0) == 20);
  CHECK(v.slice(1, 1, 1).merge(0).strides == std::array<Index, 2>{12, 1});
  CHECK_FALSE(v.slice(2, 0, 3).is_contiguous());
  CHECK_THROWS_WITH(v.slice(2, 0, 3).merge(1), heed::test::contains("do not lie as one in memory"));
  CHECK_THROWS_WITH(v.permute({1, 0, 2}).merge(0), heed::test::contains("do not lie as one in memory"));
  CHECK(v.reshape<2>({8, 3})(7, 2) == 23);
  CHECK(v.reshape<1>({24})(23) == 23);
  CHECK_THROWS_WITH(v.reshape<1>({23}), heed::test::contains("has not as many elements as (23)"));
  CHECK_THROWS_WITH(v.permute({2, 1, 0}).reshape<1>({24}), heed::test::contains("is not contiguous"));
}
