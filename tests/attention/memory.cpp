// SPDX-License-Identifier: Apache-2.0
// What the attention reads and writes: nothing beyond its tensors, and no key that nobody sees.
#include "catch.hpp"
#include "support/guarded.hpp"
#include "support/rules.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using namespace heed::test;

namespace {

// Rows (b, h, j) of `width` elements, each at the end of a page of its own.
template <class T>
class PagedRows {
 public:
  PagedRows(Index b, Index h, Index m, Index width)
      : page_(std::size_t(::sysconf(_SC_PAGESIZE))),
        count_(std::size_t(b * h * m)),
        memory_(count_ * page_ / sizeof(T)),
        view_(memory_.data() + Index(page_ / sizeof(T)) - width, {b, h, m, width},
              {h * m * Index(page_ / sizeof(T)), m * Index(page_ / sizeof(T)), Index(page_ / sizeof(T)), 1}) {}
  const View<T, 4>& view() const { return view_; }
  void forbid(Index b, Index h, Index j) {
    const std::size_t row = std::size_t((b * view_.size(1) + h) * view_.size(2) + j);
    REQUIRE(::mprotect(reinterpret_cast<std::byte*>(memory_.data()) + row * page_, page_, PROT_NONE) == 0);
  }

 private:
  std::size_t page_, count_;
  Guarded<T> memory_;
  View<T, 4> view_;
};

struct Size {
  Index n, m;
};
constexpr Size kSizes[] = {{1, 60}, {4, 33}, {17, 90}, {40, 13}, {70, 140}};

template <class T>
View<T, 4> guarded_view(const Guarded<T>& memory, std::array<Index, 4> sizes) {
  return View<T, 4>(memory.data(), sizes);
}

}  // namespace

TEMPLATE_TEST_CASE("Keys that no query sees are not read", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes)
    for (const RuleCase& rule : rule_cases(2, m)) {
      if (!rule.tight) continue;
      CAPTURE(rule.name, n, m);
      const Inputs<T> x(2, 4, 2, n, m, 5, 6, 1);
      const auto want = attend_any(std::nullopt, rule.rule, x.q, x.k, x.v);
      PagedRows<T> k(2, 2, m, 5), v(2, 2, m, 6);
      const auto visible = rule.definition(n, m);
      for (Index b = 0; b < 2; ++b)
        for (Index h = 0; h < 2; ++h)
          for (Index j = 0; j < m; ++j) {
            for (Index d = 0; d < 5; ++d) k.view()(b, h, j, d) = x.k(b, h, j, d);
            for (Index d = 0; d < 6; ++d) v.view()(b, h, j, d) = x.v(b, h, j, d);
            bool seen = false;
            for (Index i = 0; i < n; ++i) seen |= visible(b, 2 * h, i, j) || visible(b, 2 * h + 1, i, j);
            if (seen) continue;
            k.forbid(b, h, j);
            v.forbid(b, h, j);
          }
      const auto got = attend_any(std::nullopt, rule.rule, heed::const_view(x.q), heed::const_view(k.view()),
                                  heed::const_view(v.view()));
      CHECK(same_bits(got.out, want.out));
      CHECK(same_bits(got.lse, want.lse));
    }
}

TEMPLATE_TEST_CASE("Fewer rows than the view claims", "", float, double) {
  using T = TestType;
  // A cache with room for 200 keys of which a causal query at position 36 sees 37.
  for (const Index n : {1, 3, 16, 19, 37}) {
    const Inputs<T> x(1, 2, 1, n, 37, 7, 9, 2);
    const Guarded<T> k(37 * 7), v(37 * 9);
    std::copy_n(x.k.data(), 37 * 7, k.data());
    std::copy_n(x.v.data(), 37 * 9, v.data());
    const auto want = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    const auto got = attend_any(std::nullopt, heed::causal(37 - n), heed::const_view(x.q),
                                View<const T, 4>(k.data(), {1, 1, 200, 7}), View<const T, 4>(v.data(), {1, 1, 200, 9}));
    CHECK(same_bits(got.out, want.out));
    const auto lengths = int_tensor({37});
    const auto by_length =
        attend_any(std::nullopt, heed::key_lengths(lengths) && heed::causal(), heed::const_view(x.q),
                   View<const T, 4>(k.data(), {1, 1, 200, 7}), View<const T, 4>(v.data(), {1, 1, 200, 9}));
    CHECK(same_bits(by_length.out, want.out));
  }
}

TEMPLATE_TEST_CASE("Tensors at either edge of memory", "", float, double) {
  using T = TestType;
  for (const Edge edge : {Edge::kBegin, Edge::kEnd})
    for (const auto [n, m] : kSizes)
      for (const Index d : {1, 3, 7, 16, 19})
        for (const Index dv : {1, 5, 16, 33}) {
          CAPTURE(int(edge), n, m, d, dv);
          const Inputs<T> x(2, 2, 1, n, m, d, dv, 3);
          const Guarded<T> q(std::size_t(x.q.size()), edge), k(std::size_t(x.k.size()), edge),
              v(std::size_t(x.v.size()), edge);
          const Guarded<T> out(std::size_t(2 * 2 * n * dv), edge), lse(std::size_t(2 * 2 * n), edge);
          std::copy_n(x.q.data(), x.q.size(), q.data());
          std::copy_n(x.k.data(), x.k.size(), k.data());
          std::copy_n(x.v.data(), x.v.size(), v.data());
          heed::softmax_attention(heed::causal())(
              View<const T, 4>(q.data(), {2, 2, n, d}), View<const T, 4>(k.data(), {2, 1, m, d}),
              View<const T, 4>(v.data(), {2, 1, m, dv}),
              heed::into(View<T, 4>(out.data(), {2, 2, n, dv}), View<T, 3>(lse.data(), {2, 2, n})));
          const auto [want, want_lse] = heed::softmax_attention(heed::causal()).with_lse(x.q, x.k, x.v);
          REQUIRE(std::equal(out.begin(), out.end(), want.data()));
          REQUIRE(std::equal(lse.begin(), lse.end(), want_lse.data()));
        }
}

TEMPLATE_TEST_CASE("Only the elements of the outputs are written", "", float, double) {
  using T = TestType;
  for (const auto [n, m] : kSizes) {
    const Inputs<T> x(2, 2, 1, n, m, 5, 6, 4);
    const auto [want, want_lse] = heed::softmax_attention(heed::causal()).with_lse(x.q, x.k, x.v);
    Tensor<T, 5> wide(2, n + 1, 2, 9, 2);  // (B, N, H, Dv, 2) with room to spare on every axis
    Tensor<T, 4> wide_lse(2, n + 1, 2, 3);
    wide.setConstant(T(-9));
    wide_lse.setConstant(T(-9));
    const auto out = heed::view(wide).select(4, 1).slice(1, 0, n).slice(3, 2, 6).permute({0, 2, 1, 3});
    const auto lse = heed::view(wide_lse).select(3, 1).slice(1, 0, n).permute({0, 2, 1});
    heed::softmax_attention(heed::causal())(x.q, x.k, x.v, heed::into(out, lse));
    Index written = 0, rows = 0;
    for (Index i = 0; i < wide.size(); ++i) written += wide.data()[i] != T(-9);
    for (Index i = 0; i < wide_lse.size(); ++i) rows += wide_lse.data()[i] != T(-9);
    CHECK(written == want.size());
    CHECK(rows == want_lse.size());
    CHECK(error_of(out, want) == 0);
    CHECK(error_of(lse, want_lse) == 0);
  }
}
