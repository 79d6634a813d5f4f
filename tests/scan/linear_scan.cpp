// SPDX-License-Identifier: Apache-2.0
#include "heed/scan/linear_scan.hpp"

#include <cstring>
#include <numeric>

#include "catch.hpp"
#include "support/reference.hpp"

using heed::Index;
using heed::LinearForm;
using heed::Tensor;
using heed::test::error_of;
using heed::test::kInfinity;
using heed::test::kNaN;
using heed::test::random_tensor;

namespace {

enum class Decay { kNone, kPerHead, kPerToken, kPerChannel };

struct Case {
  Tensor<float, 4> q, k, v, decay, beta, state;

  Case(Index heads, Index kv_heads, Index tokens, Index width, Index value_width, Decay kind, double strength,
       Index beta_width, bool ones = false)
      : q(random_tensor<float, 4>({2, heads, tokens, width}, 1, 0.5)),
        k(random_tensor<float, 4>({2, kv_heads, tokens, width}, 2, 0.5)),
        v(random_tensor<float, 4>({2, kv_heads, tokens, value_width}, 3)),
        beta(random_tensor<float, 4>({2, kv_heads, beta_width > 0 ? tokens : 0, beta_width}, 5)),
        state(random_tensor<float, 4>({2, kv_heads, width, value_width + Index(ones)}, 6)) {
    const Index columns = kind == Decay::kPerChannel ? width : 1;
    if (kind == Decay::kPerHead) decay = random_tensor<float, 4>({1, kv_heads, 1, 1}, 4, strength);
    if (kind == Decay::kPerToken || kind == Decay::kPerChannel)
      decay = random_tensor<float, 4>({2, kv_heads, tokens, columns}, 4, strength);
    for (Index i = 0; i < decay.size(); ++i) decay.data()[i] = -std::abs(decay.data()[i]);
    for (Index i = 0; i < beta.size(); ++i) beta.data()[i] = 1 / (1 + std::exp(beta.data()[i]));
    if (beta_width > 0) {  // keys of unit length, so that the corrections stay bounded
      for (Index row = 0; row < k.size() / std::max<Index>(width, 1); ++row) {
        float* const x = k.data() + row * width;
        const float norm = std::sqrt(std::inner_product(x, x + width, x, 1e-6f));
        for (Index d = 0; d < width; ++d) x[d] /= norm;
      }
    }
  }

  /// Token by token, in double: out, with the state behind all tokens left in `s`.
  Tensor<double, 4> naive(Tensor<double, 4>& s, bool ones = false) const {
    const Index groups = q.dimension(1) / k.dimension(1), tokens = k.dimension(2), width = k.dimension(3);
    const Index columns = v.dimension(3) + Index(ones);
    s = state.cast<double>();
    Tensor<double, 4> out(2, q.dimension(1), tokens, columns);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < k.dimension(1); ++h)
        for (Index t = 0; t < tokens; ++t) {
          for (Index d = 0; d < width && decay.size() > 0; ++d) {
            const bool constant = decay.dimension(2) == 1 && decay.dimension(0) == 1;
            const double g = constant ? decay(0, h, 0, 0) : decay(b, h, t, decay.dimension(3) == 1 ? 0 : d);
            for (Index c = 0; c < columns; ++c) s(b, h, d, c) *= std::exp(g);
          }
          for (Index c = 0; c < columns; ++c) {
            double x = c < v.dimension(3) ? v(b, h, t, c) : 1;
            if (beta.size() > 0) {
              for (Index d = 0; d < width; ++d) x -= s(b, h, d, c) * k(b, h, t, d);
              x *= beta(b, h, t, beta.dimension(3) == 1 ? 0 : c);
            }
            for (Index d = 0; d < width; ++d) s(b, h, d, c) += k(b, h, t, d) * x;
            for (Index g = 0; g < groups; ++g) {
              double sum = 0;
              for (Index d = 0; d < width; ++d) sum += s(b, h, d, c) * q(b, h * groups + g, t, d);
              out(b, h * groups + g, t, c) = 0.5 * sum;
            }
          }
        }
    return out;
  }

  auto run(LinearForm form, Index chunk, bool ones = false) const {
    return heed::linear_scan(Eigen::DefaultDevice(), q, k, v, decay, beta, state,
                             {.scale = 0.5, .normalizer = ones, .form = form, .chunk = chunk});
  }
  void check(bool ones = false) const {
    Tensor<double, 4> end;
    const auto want = naive(end, ones);
    for (const auto& [form, chunk] :
         {std::pair(LinearForm::kRecurrent, Index(1)), std::pair(LinearForm::kChunked, Index(64)),
          std::pair(LinearForm::kChunked, Index(7)), std::pair(LinearForm::kParallel, Index(1))}) {
      INFO("form " << int(form) << ", chunk " << chunk);
      const auto got = run(form, chunk, ones);
      CHECK(error_of(got.out, want) < 1e-5);
      CHECK(error_of(got.state, end) < 1e-5);
    }
  }
};

}  // namespace

TEST_CASE("linear_scan: all forms are the recurrence") {
  for (const Decay kind : {Decay::kNone, Decay::kPerHead, Decay::kPerToken, Decay::kPerChannel})
    for (const Index beta_width : {0, 1, 9})
      for (const Index tokens : {0, 1, 3, 17, 130}) {
        INFO("decay " << int(kind) << ", beta " << beta_width << ", tokens " << tokens);
        Case(2, 2, tokens, tokens == 17 ? 7 : 5, 9, kind, 0.1, beta_width).check();
        if (tokens == 17) Case(6, 2, tokens, 17, 9, kind, 0.1, beta_width).check();
        if (tokens == 130 && beta_width == 0) Case(2, 1, tokens, 70, 3, kind, 0.02, 0).check();
        if (beta_width == 0) Case(2, 2, tokens, 8, 16, kind, 0.1, 0, true).check(true);
      }
}

TEST_CASE("linear_scan: no strength of decay overflows, down to forgetting all") {
  for (const Decay kind : {Decay::kPerHead, Decay::kPerToken, Decay::kPerChannel})
    for (const Index beta_width : {0, 1}) {
      Case c(2, 2, 70, 6, 5, kind, 60, beta_width);
      c.check();
      for (Index i = 0; i < c.decay.size(); i += 3) c.decay.data()[i] = -float(kInfinity);
      c.check();
    }
}

TEST_CASE("linear_scan: a sequence in pieces of any length gives the same, and the same bits on any threads") {
  for (const Decay kind : {Decay::kNone, Decay::kPerToken, Decay::kPerChannel})
    for (const Index beta_width : {0, 1}) {
      const Case c(4, 2, 90, 8, 8, kind, 0.1, beta_width);
      const auto want = c.run(LinearForm::kAuto, 64);
      for (const int threads : {2, 3}) {
        Eigen::ThreadPool pool(threads);
        const auto got = heed::linear_scan(Eigen::ThreadPoolDevice(&pool, threads), c.q, c.k, c.v, c.decay, c.beta,
                                           c.state, {.scale = 0.5});
        CHECK(std::memcmp(got.out.data(), want.out.data(), sizeof(float) * std::size_t(want.out.size())) == 0);
        CHECK(std::memcmp(got.state.data(), want.state.data(), sizeof(float) * std::size_t(want.state.size())) == 0);
      }
      Tensor<float, 4> out(want.out.dimensions()), state = c.state, end(state.dimensions());
      out.setConstant(float(kNaN));
      Index start = 0;
      for (const Index length : {1, 40, 0, 7, 42}) {
        const auto piece = [&](auto& x) {
          return x.size() == 0 ? heed::view(x) : heed::view(x).slice(2, start, length);
        };
        end.setConstant(float(kNaN));
        heed::linear_scan(Eigen::DefaultDevice(), piece(c.q), piece(c.k), piece(c.v), piece(c.decay), piece(c.beta),
                          state, {.scale = 0.5}, piece(out), end);
        state = end;
        start += length;
      }
      CHECK(error_of(out, want.out) < 1e-5);
      CHECK(error_of(state, want.state) < 1e-5);
    }
}

TEST_CASE("linear_scan: later tokens are not seen, NaN included; errors") {
  for (const Decay kind : {Decay::kNone, Decay::kPerToken, Decay::kPerChannel})
    for (const Index beta_width : {0, 1})
      for (const LinearForm form : {LinearForm::kRecurrent, LinearForm::kChunked, LinearForm::kParallel}) {
        Case c(2, 2, 90, 8, 8, kind, 0.1, beta_width);
        const auto want = c.run(form, 64);
        c.k(0, 1, 37, 2) = c.v(0, 1, 37, 3) = c.q(0, 1, 37, 0) = float(kNaN);
        if (c.decay.size() > 0) c.decay(0, 1, 37, 0) = float(kNaN);
        const auto got = c.run(form, 64);
        for (Index i = 0; i < 37; ++i)
          CHECK(std::memcmp(&got.out(0, 1, i, 0), &want.out(0, 1, i, 0), 8 * sizeof(float)) == 0);
      }
  Case c(2, 2, 9, 8, 8, Decay::kPerToken, 0.1, 1);
  c.beta = random_tensor<float, 4>({2, 2, 9, 3}, 1);
  CHECK_THROWS_WITH(c.run(LinearForm::kAuto, 64),
                    "linear_scan: beta must be empty or have shape (2, 2, 9, 1) or (2, 2, 9, 8), got (2, 2, 9, 3)");
  CHECK_THROWS_WITH(c.run(LinearForm::kAuto, 0), "linear_scan: chunk must be 1 or more, got 0");
}
