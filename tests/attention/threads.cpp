// SPDX-License-Identifier: Apache-2.0
// The same bits on any number of threads, in any batch, beside any other heads; and no allocation after the first call.
#include "catch.hpp"
#include "support/allocations.hpp"
#include "support/any_attention.hpp"

using heed::Index;
using heed::Tensor;
using namespace heed::test;

namespace {

struct Pool {
  explicit Pool(int threads) : pool(threads), device(&pool, threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;

  // Calls f on every thread of the pool.
  template <class F>
  void on_every_thread(F f) {
    Eigen::Barrier arrived(unsigned(pool.NumThreads())), done(unsigned(pool.NumThreads()));
    for (int i = 0; i < pool.NumThreads(); ++i)
      pool.Schedule([&] {
        arrived.Notify();
        arrived.Wait();
        f();
        done.Notify();
      });
    done.Wait();
  }
};

struct Case {
  Index b, h, hk, n, m, d, dv;
};
// Rows, panels with a row that goes through the row kernel, panels alone, rows and panels over ranges of keys.
constexpr Case kCases[] = {{1, 1, 1, 1, 40, 9, 10},   {3, 6, 2, 1, 70, 9, 10},   {2, 4, 1, 19, 70, 5, 6},
                           {1, 2, 2, 130, 200, 5, 6}, {2, 3, 3, 64, 64, 16, 16}, {1, 4, 2, 1, 5000, 9, 10},
                           {2, 2, 1, 3, 2500, 9, 10}, {1, 2, 1, 20, 9000, 5, 6}, {1, 17, 1, 2, 33, 5, 6}};

template <class T>
Inputs<T> inputs(const Case& c) {
  return Inputs<T>(c.b, c.h, c.hk, c.n, c.m, c.d, c.dv, unsigned(c.n + c.m));
}

template <class T>
void check_same(const AnyResult<T>& a, const AnyResult<T>& b) {
  CHECK(same_bits(a.out, b.out));
  CHECK(same_bits(a.lse, b.lse));
}

}  // namespace

TEMPLATE_TEST_CASE("1, 2, 3 threads and none give the same bits", "", float, double) {
  using T = TestType;
  Pool one(1), two(2), three(3);
  for (const Case& c : kCases) {
    CAPTURE(c.b, c.h, c.hk, c.n, c.m);
    const Inputs<T> x = inputs<T>(c);
    const auto want = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    for (Pool* pool : {&one, &two, &three})
      for (int call = 0; call < 5; ++call)
        check_same(attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v, {}, &pool->device), want);
  }
}

TEMPLATE_TEST_CASE("Called from within the pool", "", float, double) {
  using T = TestType;
  Pool pool(2);
  for (const Case& c : kCases) {
    const Inputs<T> x = inputs<T>(c);
    const auto want = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    std::atomic<int> wrong{0};
    pool.on_every_thread([&] {
      const auto got = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v, {}, &pool.device);
      wrong += !same_bits(got.out, want.out) + !same_bits(got.lse, want.lse);
    });
    CHECK(wrong == 0);
  }
}

TEMPLATE_TEST_CASE("An operator may be called by many threads at once", "", float, double) {
  using T = TestType;
  Pool pool(3);
  const Inputs<T> x = inputs<T>({2, 4, 2, 19, 70, 9, 10});
  const auto attend = heed::softmax_attention(heed::causal());
  const Tensor<T, 4> want = attend(x.q, x.k, x.v);
  std::atomic<int> wrong{0};
  pool.on_every_thread([&] {
    for (int call = 0; call < 10; ++call) wrong += !same_bits<T, 4>(attend(x.q, x.k, x.v), want);
  });
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("A batch of 1 and a batch of 8 give the same bits", "", float, double) {
  using T = TestType;
  for (Case c : kCases) {
    c.b = 8;
    CAPTURE(c.h, c.hk, c.n, c.m);
    const Inputs<T> x = inputs<T>(c);
    const auto all = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    for (const Index b : {0, 3, 7}) {
      const auto one = attend_any(std::nullopt, heed::causal(), heed::const_view(x.q).slice(0, b, 1),
                                  heed::const_view(x.k).slice(0, b, 1), heed::const_view(x.v).slice(0, b, 1));
      CHECK(error_of(one.out, heed::const_view(all.out).slice(0, b, 1)) == 0);
      CHECK(error_of(one.lse, heed::const_view(all.lse).slice(0, b, 1)) == 0);
    }
  }
}

TEMPLATE_TEST_CASE("A head alone and a head among others give the same bits", "", float, double) {
  using T = TestType;
  for (const Case& c : kCases) {
    CAPTURE(c.h, c.hk, c.n, c.m);
    const Inputs<T> x = inputs<T>(c);
    const auto all = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    for (Index h = 0; h < c.h; ++h) {
      const Index hk = h * c.hk / c.h;
      const auto one = attend_any(std::nullopt, heed::causal(), heed::const_view(x.q).slice(1, h, 1),
                                  heed::const_view(x.k).slice(1, hk, 1), heed::const_view(x.v).slice(1, hk, 1));
      CHECK(error_of(one.out, heed::const_view(all.out).slice(1, h, 1)) == 0);
      CHECK(error_of(one.lse, heed::const_view(all.lse).slice(1, h, 1)) == 0);
    }
  }
}

TEMPLATE_TEST_CASE("The same call twice gives the same bits", "", float, double) {
  using T = TestType;
  for (const Case& c : kCases) {
    const Inputs<T> x = inputs<T>(c);
    const auto first = attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v);
    // Something else in the scratch memory meanwhile.
    const Inputs<T> other(1, 2, 1, 70, 120, 33, 40, 9);
    Tensor<T, 4> v = other.v;
    v.setConstant(T(kNaN));
    attend_any(std::nullopt, heed::causal(), other.q, other.k, v);
    check_same(attend_any(std::nullopt, heed::causal(), x.q, x.k, x.v), first);
  }
}

TEMPLATE_TEST_CASE("No allocation after the first call of a shape", "", float, double) {
  using T = TestType;
  const auto attend = heed::softmax_attention(heed::causal());
  for (const Case& c : kCases) {
    CAPTURE(c.b, c.h, c.hk, c.n, c.m);
    const Inputs<T> x = inputs<T>(c);
    Eigen::array<Index, 4> turn{0, 1, 3, 2};
    const Tensor<T, 4> kt = x.k.shuffle(turn);
    const auto columns = heed::const_view(kt).permute({0, 1, 3, 2});
    Tensor<T, 4> out(c.b, c.h, c.n, c.dv);
    Tensor<T, 3> lse(c.b, c.h, c.n);
    const auto calls_into = [&](const auto& device, Tensor<T, 4>& o, Tensor<T, 3>& l) {
      attend(device, x.q, x.k, x.v, heed::into(o, l));
      attend(device, x.q, columns, x.v, heed::into(o));
    };
    const auto calls = [&](const auto& device) { calls_into(device, out, lse); };
    const auto count = [&](auto call) {
      const std::size_t before = heed::test::allocation_count();
      for (int i = 0; i < 4; ++i) call();
      return heed::test::allocation_count() - before;
    };
    // Threads of their own, which have no scratch memory yet.
    std::thread([&] {
      calls(Eigen::DefaultDevice());
      CHECK(count([&] { calls(Eigen::DefaultDevice()); }) == 0);
    }).join();
    for (const int threads : {1, 2, 3}) {
      Pool pool(threads);
      calls(pool.device);
      pool.on_every_thread([&] {  // which threads take part in a call is chance
        Tensor<T, 4> own_out = out;
        Tensor<T, 3> own_lse = lse;
        calls_into(Eigen::DefaultDevice(), own_out, own_lse);
      });
      CHECK(count([&] { calls(pool.device); }) == 0);
    }
  }
}
