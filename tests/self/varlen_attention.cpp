// SPDX-License-Identifier: Apache-2.0
#include "heed/self/varlen_attention.hpp"

#include <cstring>
#include <vector>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::Tensor;
using heed::VarlenAttention;
using heed::test::error_of;
using heed::test::NaiveAttention;
using heed::test::random_tensor;

namespace {

Tensor<std::int32_t, 1> offsets(const std::vector<Index>& lengths) {
  Tensor<std::int32_t, 1> cu(Index(lengths.size()) + 1);
  cu(0) = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) cu(Index(s) + 1) = cu(Index(s)) + std::int32_t(lengths[s]);
  return cu;
}

template <class T>
struct Packed {
  Tensor<std::int32_t, 1> cu_q, cu_k;
  Tensor<T, 3> q, k, v;

  Packed(const std::vector<Index>& n, const std::vector<Index>& m, Index H, Index Hk, Index D, Index Dv)
      : cu_q(offsets(n)),
        cu_k(offsets(m)),
        q(random_tensor<T, 3>({cu_q(cu_q.size() - 1), H, D}, 1)),
        k(random_tensor<T, 3>({cu_k(cu_k.size() - 1), Hk, D}, 2)),
        v(random_tensor<T, 3>({cu_k(cu_k.size() - 1), Hk, Dv}, 3)) {}

  // As one attention in which a query sees its own sequence alone.
  Tensor<double, 4> reference(const VarlenAttention::Options& o) const {
    const auto sequence = [](const Tensor<std::int32_t, 1>& cu, Index row) {
      Index s = 0;
      while (cu(s + 1) <= row) ++s;
      return s;
    };
    NaiveAttention naive;
    naive.scale = o.scale;
    naive.visible = [&](Index, Index, Index i, Index j) {
      const Index s = sequence(cu_q, i);
      if (sequence(cu_k, j) != s) return false;
      const Index p = i - cu_q(s) + (cu_k(s + 1) - cu_k(s)) - (cu_q(s + 1) - cu_q(s)), key = j - cu_k(s);
      return (!o.causal || key <= p) && (o.window_left < 0 || p - key <= o.window_left) &&
             (o.window_right < 0 || key - p <= o.window_right);
    };
    if (o.softcap > 0)
      naive.score = [&](double x, Index, Index, Index, Index) { return o.softcap * std::tanh(x / o.softcap); };
    const auto heads = [](const Tensor<T, 3>& x) { return heed::const_view(x).permute({1, 0, 2}); };
    return naive(heads(q), heads(k), heads(v)).out;
  }

  double error(const VarlenAttention& attend) const {
    Tensor<T, 3> out(q.dimension(0), q.dimension(1), v.dimension(2));
    out.setConstant(T(heed::test::kNaN));
    attend(Eigen::DefaultDevice(), q, k, v, cu_q, cu_k, out);
    const auto want = reference(attend.options);
    return error_of(heed::const_view(out).permute({1, 0, 2}), heed::const_view(want).select(0, 0));
  }
};

}  // namespace

TEMPLATE_TEST_CASE("varlen_attention is the attention of each sequence", "", float, double) {
  const double tolerance = std::same_as<TestType, float> ? 2e-5 : 1e-12;
  const Packed<TestType> packed({1, 0, 17, 63, 5, 3, 0, 130}, {1, 4, 17, 20, 0, 70, 0, 130}, 4, 2, 9, 6);
  CHECK(packed.error({}) < tolerance);
  CHECK(packed.error({{.causal = true}}) < tolerance);
  CHECK(packed.error({{.scale = 0.2, .softcap = 2, .causal = true, .window_left = 7}}) < tolerance);
  CHECK(packed.error({{.window_left = 3, .window_right = 4}}) < tolerance);
}

TEST_CASE("varlen_attention: queries without keys, and those before the first key, give 0") {
  const Packed<float> packed({3, 5}, {0, 2}, 2, 2, 4, 4);
  const auto out = VarlenAttention{{.causal = true}}(packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k);
  for (Index i = 0; i < 6; ++i)
    for (Index d = 0; d < 4; ++d) CHECK(out(i, 1, d) == 0);
  CHECK(out(6, 1, 0) != 0);
}

TEST_CASE("varlen_attention: NaN in another sequence is not seen") {
  Packed<float> packed({20, 30}, {20, 30}, 2, 1, 8, 8);
  const auto want = VarlenAttention{}(packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k);
  for (Index j = 20; j < 50; ++j) packed.k(j, 0, 3) = packed.v(j, 0, 1) = float(heed::test::kNaN);
  const auto got = VarlenAttention{}(packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k);
  CHECK(std::memcmp(got.data(), want.data(), sizeof(float) * 20 * 2 * 8) == 0);
}

TEST_CASE("varlen_attention: the same bits on 1, 2 and 3 threads, and for a sequence alone", "[threads]") {
  const VarlenAttention attend{{.causal = true}};
  for (const std::vector<Index>& lengths :
       {std::vector<Index>{300, 2, 9}, std::vector<Index>(40, 11), std::vector<Index>{130, 1, 129, 128}}) {
    const Packed<float> packed(lengths, lengths, 4, 2, 16, 16);
    const auto one = attend(packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k);
    const std::size_t bytes = sizeof(float) * std::size_t(one.size());
    for (const int threads : {1, 2, 3}) {
      Eigen::ThreadPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads);
      const auto more = attend(device, packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k);
      CHECK(std::memcmp(more.data(), one.data(), bytes) == 0);
    }
    const Index n = lengths[0];
    const auto alone = offsets({n});
    const auto first = [&](const auto& x) { return heed::const_view(x).slice(0, 0, n); };
    const auto out = attend(first(packed.q), first(packed.k), first(packed.v), alone, alone);
    CHECK(std::memcmp(out.data(), one.data(), sizeof(float) * std::size_t(out.size())) == 0);
  }
}

TEST_CASE("varlen_attention: no sequence at all") {
  const Packed<float> packed({}, {}, 2, 2, 4, 4);
  CHECK(VarlenAttention{}(packed.q, packed.k, packed.v, packed.cu_q, packed.cu_k).size() == 0);
}

TEST_CASE("varlen_attention: errors") {
  Packed<float> p({2, 3}, {4, 3}, 4, 2, 8, 6);
  VarlenAttention attend;
  const auto message = [&]() -> std::string {
    try {
      attend(p.q, p.k, p.v, p.cu_q, p.cu_k);
    } catch (const heed::Error& error) {
      const std::string text = error.what(), name = "varlen_attention: ";
      REQUIRE(text.starts_with(name));
      return text.substr(name.size());
    }
    return "no error";
  };
  CHECK(message() == "no error");
  SECTION("k") {
    p.k.resize(7, 2, 7);
    CHECK(message() == "k must have shape (Mt, Hk, D) with D = 8, got (7, 2, 7)");
  }
  SECTION("v") {
    p.v.resize(6, 2, 6);
    CHECK(message() == "v must have shape (Mt, Hk, Dv) = (7, 2, Dv), got (6, 2, 6)");
  }
  SECTION("width") {
    p.v.resize(7, 2, 0);
    CHECK(message() == "D and Dv must be 1 or more, got 8 and 0");
  }
  SECTION("heads") {
    p.k.resize(7, 3, 8);
    p.v.resize(7, 3, 6);
    CHECK(message() == "the number of heads of q, 4, must be a multiple of that of k and v, 3");
  }
  SECTION("options") {
    attend.options.softcap = -2;
    CHECK(message() == "softcap must be positive, or 0 for none, got -2");
    attend.options.softcap = 0;
    attend.options.scale = heed::test::kNaN;
    CHECK(message() == "scale must be finite, got nan");
    attend.options.scale = 1e300;
    CHECK(message() == "scale must be finite, got 1e+300");
  }
  SECTION("numbers of offsets") {
    p.cu_k = offsets({7});
    CHECK(message() == "cu_seqlens_q and cu_seqlens_k must have the same shape (S + 1), got (3) and (2)");
    p.cu_k.resize(0);
    p.cu_q.resize(0);
    CHECK(message() == "cu_seqlens_q and cu_seqlens_k must have the same shape (S + 1), got (0) and (0)");
  }
  SECTION("first offset") {
    p.cu_q(0) = 1;
    CHECK(message() == "cu_seqlens_q must begin with 0, got 1");
  }
  SECTION("order of offsets") {
    p.cu_k(1) = 8;
    CHECK(message() == "cu_seqlens_k must not descend, got 8 and 7 at 1 and 2");
  }
  SECTION("last offset") {
    p.cu_q(2) = 4;
    CHECK(message() == "cu_seqlens_q must end with the number of rows of q, 5, got 4");
  }
  SECTION("out") {
    Tensor<float, 3> out(5, 4, 5);
    CHECK_THROWS_WITH(attend(Eigen::DefaultDevice(), p.q, p.k, p.v, p.cu_q, p.cu_k, out),
                      "varlen_attention: out must have shape (Nt, H, Dv) = (5, 4, 6), got (5, 4, 5)");
  }
}
