// SPDX-License-Identifier: Apache-2.0
// Layouts: whatever the strides are, the results have the same bits as those of contiguous tensors.
#include "catch.hpp"
#include "support/any_attention.hpp"
#include "support/guarded.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using namespace heed::test;

namespace {

struct Size {
  Index n, m;
};
constexpr Size kSizes[] = {{1, 40}, {3, 70}, {17, 33}, {66, 130}};

template <class T>
void check(const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v) {
  const auto contiguous = [](const View<const T, 4>& x) {
    Tensor<T, 4> copy(x.size(0), x.size(1), x.size(2), x.size(3));
    for (Index b = 0; b < x.size(0); ++b)
      for (Index h = 0; h < x.size(1); ++h)
        for (Index i = 0; i < x.size(2); ++i)
          for (Index d = 0; d < x.size(3); ++d) copy(b, h, i, d) = x(b, h, i, d);
    return copy;
  };
  const auto want = attend_any(std::nullopt, heed::causal(), contiguous(q), contiguous(k), contiguous(v));
  const auto got = attend_any(std::nullopt, heed::causal(), q, k, v);
  CHECK(same_bits(got.out, want.out));
  CHECK(same_bits(got.lse, want.lse));
}

// The view with one axis reversed.
template <class T>
View<T, 4> reversed(View<T, 4> x, int axis) {
  x.data += (x.size(axis) - 1) * x.stride(axis);
  x.strides[std::size_t(axis)] = -x.stride(axis);
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("Packed queries, keys and values", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 5, 17, 66}) {
    const Tensor<T, 5> packed = random_tensor<T, 5>({2, n, 3, 4, 7}, 1);  // (B, N, 3, H, D)
    const View<const T, 5> all(packed);
    check<T>(all.select(2, 0).permute({0, 2, 1, 3}), all.select(2, 1).permute({0, 2, 1, 3}),
             all.select(2, 2).permute({0, 2, 1, 3}));
    const Tensor<T, 3> flat = random_tensor<T, 3>({2, n, 4 * 21}, 2);  // (B, N, H * 3 * D)
    const View<const T, 5> split = heed::const_view(flat).split(2, 21).split(3, 7);
    check<T>(split.select(3, 0).permute({0, 2, 1, 3}), split.select(3, 1).permute({0, 2, 1, 3}),
             split.select(3, 2).permute({0, 2, 1, 3}));
  }
}

TEMPLATE_TEST_CASE("(B, N, H, D), (N, B, H, D), (D, N, H, B)", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Tensor<T, 4> q = random_tensor<T, 4>({2, n, 4, 9}, 1), k = random_tensor<T, 4>({m, 2, 2, 9}, 2),
                       v = random_tensor<T, 4>({11, m, 2, 2}, 3);
    check<T>(heed::const_view(q).permute({0, 2, 1, 3}), heed::const_view(k).permute({1, 2, 0, 3}),
             heed::const_view(v).permute({3, 2, 1, 0}));
    const Tensor<T, 4> qt = random_tensor<T, 4>({9, n, 4, 2}, 1), kt = random_tensor<T, 4>({2, 9, m, 2}, 2),
                       vt = random_tensor<T, 4>({2, m, 2, 11}, 3);
    check<T>(heed::const_view(qt).permute({3, 2, 1, 0}), heed::const_view(kt).permute({0, 3, 2, 1}),
             heed::const_view(vt).permute({0, 2, 1, 3}));
  }
}

TEMPLATE_TEST_CASE("Every axis backwards", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(2, 4, 2, n, m, 9, 11, 4);
    for (int axis = 0; axis < 4; ++axis) {
      check<T>(reversed(heed::const_view(x.q), axis), heed::const_view(x.k), heed::const_view(x.v));
      check<T>(heed::const_view(x.q), reversed(heed::const_view(x.k), axis), heed::const_view(x.v));
      check<T>(heed::const_view(x.q), heed::const_view(x.k), reversed(heed::const_view(x.v), axis));
    }
  }
}

TEMPLATE_TEST_CASE("Elements apart", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Tensor<T, 5> q = random_tensor<T, 5>({2, 4, n, 9, 3}, 1), k = random_tensor<T, 5>({2, 2, m, 9, 2}, 2),
                       v = random_tensor<T, 5>({2, 2, m, 11, 4}, 3);
    check<T>(heed::const_view(q).select(4, 2), heed::const_view(k).select(4, 1), heed::const_view(v).select(4, 0));
  }
}

TEMPLATE_TEST_CASE("Stride 0: one tensor for all batches, heads, queries or keys", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(1, 1, 1, n, m, 9, 11, 5), one(1, 1, 1, 1, 1, 9, 11, 6);
    const auto k = heed::const_view(x.k).broadcast({3, 2, m, 9}, "", ""),
               v = heed::const_view(x.v).broadcast({3, 2, m, 11}, "", "");
    check<T>(heed::const_view(x.q).broadcast({3, 4, n, 9}, "", ""), k, v);
    check<T>(heed::const_view(one.q).broadcast({3, 4, n, 9}, "", ""), k, v);
    check<T>(heed::const_view(x.q).broadcast({3, 4, n, 9}, "", ""),
             heed::const_view(one.k).broadcast({3, 2, m, 9}, "", ""), v);
    check<T>(heed::const_view(x.q).broadcast({3, 4, n, 9}, "", ""), k,
             heed::const_view(one.v).broadcast({3, 2, m, 11}, "", ""));
  }
}

TEMPLATE_TEST_CASE("q, k and v may be one tensor", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 5, 17, 66}) {
    const Tensor<T, 4> x = random_tensor<T, 4>({2, 3, n, 9}, 7);
    const Tensor<T, 4> k = x, v = x;
    const auto got = attend_any(std::nullopt, heed::causal(), x, x, x),
               want = attend_any(std::nullopt, heed::causal(), x, k, v);
    CHECK(same_bits(got.out, want.out));
    CHECK(same_bits(got.lse, want.lse));
  }
}

TEST_CASE("Column-major tensors are taken by their strides") {
  const Inputs<float> x(2, 4, 2, 19, 40, 9, 11, 8);
  Eigen::Tensor<float, 4, Eigen::ColMajor> q(2, 4, 19, 9), k(2, 2, 40, 9), v(2, 2, 40, 11), out(2, 4, 19, 11);
  const auto copy = [](const Tensor<float, 4>& from, Eigen::Tensor<float, 4, Eigen::ColMajor>& to) {
    for (Index b = 0; b < from.dimension(0); ++b)
      for (Index h = 0; h < from.dimension(1); ++h)
        for (Index i = 0; i < from.dimension(2); ++i)
          for (Index d = 0; d < from.dimension(3); ++d) to(b, h, i, d) = from(b, h, i, d);
  };
  copy(x.q, q);
  copy(x.k, k);
  copy(x.v, v);
  const auto attend = heed::softmax_attention(heed::causal());
  attend(q, k, v, heed::into(out));
  CHECK(error_of(out, attend(x.q, x.k, x.v)) == 0);
  CHECK(error_of(attend(q, k, v), attend(x.q, x.k, x.v)) == 0);
}

TEST_CASE("Ranks 2 and 3, maps and matrices") {
  const Inputs<float> x(1, 4, 2, 19, 40, 9, 11, 9);
  const auto attend = heed::softmax_attention(heed::causal());
  const auto [want, want_lse] = attend.with_lse(x.q, x.k, x.v);
  const auto q = heed::const_view(x.q).select(0, 0), k = heed::const_view(x.k).select(0, 0),
             v = heed::const_view(x.v).select(0, 0);

  const auto [out3, lse3] = attend.with_lse(q, k, v);
  static_assert(std::same_as<std::remove_const_t<decltype(out3)>, Tensor<float, 3>>);
  static_assert(std::same_as<std::remove_const_t<decltype(lse3)>, Tensor<float, 2>>);
  CHECK(error_of(out3, heed::const_view(want).select(0, 0)) == 0);
  CHECK(error_of(lse3, heed::const_view(want_lse).select(0, 0)) == 0);

  const auto [out2, lse2] = attend.with_lse(q.select(0, 3), k.select(0, 1), v.select(0, 1));
  CHECK(error_of(out2, heed::const_view(want).select(0, 0).select(0, 3)) == 0);
  CHECK(error_of(lse2, heed::const_view(want_lse).select(0, 0).select(0, 3)) == 0);

  const Eigen::TensorMap<const Tensor<float, 4>> q_map(x.q.data(), 1, 4, 19, 9);
  CHECK(error_of(attend(q_map, x.k, x.v), want) == 0);

  using RowMajor = heed::Matrix<float>;
  const Eigen::Map<const RowMajor> q_matrix(x.q.data() + 3 * 19 * 9, 19, 9), k_matrix(x.k.data() + 40 * 9, 40, 9);
  const Eigen::MatrixXf v_columns = Eigen::Map<const RowMajor>(x.v.data() + 40 * 11, 40, 11);  // column-major
  RowMajor out(19, 11);
  Eigen::VectorXf lse(19);
  attend(q_matrix, k_matrix, v_columns, heed::into(out, lse));
  CHECK(error_of(out, out2) == 0);
  CHECK(error_of(lse, lse2) == 0);
  Eigen::MatrixXf block(40, 20);
  attend(q_matrix, k_matrix, v_columns, heed::into(block.block(5, 3, 19, 11)));
  CHECK(error_of(block.block(5, 3, 19, 11), out2) == 0);
}

TEMPLATE_TEST_CASE("Strides beyond 2^31 elements", "", float, double) {
  using T = TestType;
  constexpr Index stride = (Index(1) << 31) + 12345;  // of keys; heads are (2^31 + 12345) * 8 apart
  constexpr Index keys = 6;
  const AddressSpace space(std::size_t(stride * 2 * (keys + 2)) * sizeof(T));
  if (!space.as<T>()) {
    WARN("the system gives no address space of that size; not tested");
    return;
  }
  const Inputs<T> x(1, 2, 2, 19, keys, 3, 4, 10);
  for (const int which : {0, 1, 2}) {
    const Tensor<T, 4>& from = which == 0 ? x.q : which == 1 ? x.k : x.v;
    const Index rows = which == 0 ? 1 : keys, width = from.dimension(3);
    const View<T, 4> far(space.as<T>() + which * 100, {1, 2, rows, width}, {0, stride * (keys + 2), stride, 1});
    for (Index h = 0; h < 2; ++h)
      for (Index j = 0; j < rows; ++j)
        for (Index d = 0; d < width; ++d) far(0, h, j, d) = from(0, h, j, d);
  }
  const View<const T, 4> k(space.as<T>() + 100, {1, 2, keys, 3}, {0, stride * (keys + 2), stride, 1});
  const View<const T, 4> v(space.as<T>() + 200, {1, 2, keys, 4}, {0, stride * (keys + 2), stride, 1});
  const View<const T, 4> q(space.as<T>(), {1, 2, 1, 3}, {0, stride * (keys + 2), stride, 1});
  const auto rows = attend_any(std::nullopt, heed::everything(), q, k, v);
  const auto want_rows = attend_any(std::nullopt, heed::everything(), heed::const_view(x.q).slice(2, 0, 1),
                                    heed::const_view(x.k), heed::const_view(x.v));
  CHECK(same_bits(rows.out, want_rows.out));
  const auto panels = attend_any(std::nullopt, heed::causal(), heed::const_view(x.q), k, v);
  const auto want_panels = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
  CHECK(same_bits(panels.out, want_panels.out));
  // Far queries and far outputs.
  const View<T, 4> far_q(space.as<T>() + 300, {1, 2, 6, 3}, {0, stride * (keys + 2), stride, 1});
  const View<T, 4> far_out(space.as<T>() + 400, {1, 2, 6, 4}, {0, stride * (keys + 2), stride, 1});
  const View<T, 3> far_lse(space.as<T>() + 500, {1, 2, 6}, {0, stride * (keys + 2), stride});
  for (Index h = 0; h < 2; ++h)
    for (Index i = 0; i < 6; ++i)
      for (Index d = 0; d < 3; ++d) far_q(0, h, i, d) = x.q(0, h, i, d);
  heed::softmax_attention()(far_q, k, v, heed::into(far_out, far_lse));
  const auto want = attend_any(std::nullopt, heed::everything(), heed::const_view(x.q).slice(2, 0, 6),
                               heed::const_view(x.k), heed::const_view(x.v));
  CHECK(error_of(far_out, want.out) == 0);
  CHECK(error_of(far_lse, want.lse) == 0);
}

TEMPLATE_TEST_CASE("More than 2^31 keys' worth of memory below a window", "", float, double) {
  using T = TestType;
  // 2^28 keys of width 9: the last are at element 2^31 + 2^28.
  constexpr Index keys = Index(1) << 28;
  const AddressSpace space(std::size_t(keys * 9) * sizeof(T));
  if (!space.as<T>()) {
    WARN("the system gives no address space of that size; not tested");
    return;
  }
  for (const Index n : {1, 19}) {
    const Inputs<T> x(1, 1, 1, n, 60, 9, 9, 11);
    std::copy_n(x.k.data(), x.k.size(), space.as<T>() + (keys - 60) * 9);
    const View<const T, 4> k(space.as<T>(), {1, 1, keys, 9});
    const auto rule = heed::causal() && heed::window_left(40);
    const auto got = attend_any(std::nullopt, rule, heed::const_view(x.q), k, k);
    NaiveAttention naive;
    naive.visible = [n](Index, Index, Index i, Index j) { return j <= i + 60 - n && j >= i + 60 - n - 40; };
    const auto want = naive(x.q, x.k, x.k);
    CHECK(error_of(got.out, want.out) < kTolerance<T>);
    CHECK(error_of(got.lse, want.lse) < kTolerance<T>);
  }
}
